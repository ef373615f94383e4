// Both formulations of TSLoss, with their gradients.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <string>

#include "bindings/arguments.hpp"
#include "bindings/workers.hpp"
#include "losses/losses.hpp"
#include "losses/persistence_loss.hpp"
#include "losses/surrogate_loss.hpp"
#include "platform/isa.hpp"
#include "platform/kept.hpp"

namespace tsl::bindings {

// Runs one loss over a batch of clouds: (loss [...], L_H0 [...], L_H1 [...], the loss's gradient
// [..., n, d] or None). A cloud whose distances are not all finite gets NaN for its loss and its
// terms. The gradient is 0 behind the points that a cloud has.
template <class Loss, class T, class Options>
py::tuple loss_of_batch(const py::array& x, const Batch& batch, const Lengths& lengths,
                        const Options& options, bool with_grad, std::size_t threads, Isa isa) {
  py::array_t<T> totals(batch.lead);
  py::array_t<T> h0_terms(batch.lead);
  py::array_t<T> h1_terms(batch.lead);
  py::object grad = py::none();
  T* grad_out = nullptr;
  if (with_grad) {
    py::array_t<T> array(batch.with({batch.n, batch.d}));
    grad_out = array.mutable_data();
    grad = array;
  }
  const auto cost = [](const Nanoseconds& each) {
    return each.distances() + each.differences() + each.h1();
  };
  const T* in = data<T>(x);
  T* loss_out = totals.mutable_data();
  T* h0_out = h0_terms.mutable_data();
  T* h1_out = h1_terms.mutable_data();
  for_each_cloud_without_gil(batch, lengths, cost, threads, [&] {
    auto loss = kept_engine<Loss>(batch.n);
    return [&, loss](std::size_t b) {
      const std::size_t at = b * batch.n * batch.d, m = lengths.points(b);
      T* const gradient = grad_out ? grad_out + at : nullptr;
      const losses::LossTerms terms = loss->compute(options, in + at, m, batch.d, isa, gradient);
      if (gradient) std::fill(gradient + m * batch.d, gradient + batch.n * batch.d, T{0});
      loss_out[b] = static_cast<T>(options.weights.h0 * terms.h0 + options.weights.h1 * terms.h1);
      h0_out[b] = static_cast<T>(terms.h0);
      h1_out[b] = static_cast<T>(terms.h1);
    };
  });
  return py::make_tuple(totals, h0_terms, h1_terms, grad);
}

inline py::tuple persistence_loss(const py::array& x, double h0_weight, double h1_weight,
                                  double h1_power, bool scale_by_mean, bool with_grad,
                                  std::size_t threads, const std::string& isa_text,
                                  const py::object& given_lengths) {
  const Batch batch = check_batch(x, "x", false);
  const Lengths lengths(given_lengths, batch);
  const Isa isa = parse_isa(isa_text);
  const losses::PersistenceOptions options{{h0_weight, h1_weight, scale_by_mean}, h1_power};
  return with_float_type(x, "x", [&](auto zero) {
    using T = decltype(zero);
    return loss_of_batch<losses::PersistenceLoss<T>, T>(x, batch, lengths, options, with_grad,
                                                        threads, isa);
  });
}

inline py::tuple surrogate_loss(const py::array& x, double h0_weight, double h1_weight, double tau,
                                double alpha, double lambda_repel, double lambda_attract,
                                bool scale_by_mean, bool self_pairs, bool detach_scales,
                                bool with_grad, std::size_t threads, const std::string& isa_text,
                                const py::object& given_lengths) {
  const Batch batch = check_batch(x, "x", false);
  const Lengths lengths(given_lengths, batch);
  const Isa isa = parse_isa(isa_text);
  const losses::SurrogateOptions options{{h0_weight, h1_weight, scale_by_mean},
                                         tau,
                                         alpha,
                                         lambda_repel,
                                         lambda_attract,
                                         self_pairs,
                                         detach_scales};
  return with_float_type(x, "x", [&](auto zero) {
    using T = decltype(zero);
    return loss_of_batch<losses::SurrogateLoss<T>, T>(x, batch, lengths, options, with_grad,
                                                      threads, isa);
  });
}

inline void define_losses(py::module_& m) {
  m.def("persistence_loss", &persistence_loss, py::arg("x"), py::arg("h0_weight"),
        py::arg("h1_weight"), py::arg("h1_power"), py::arg("scale_by_mean"), py::arg("with_grad"),
        py::arg("threads") = 1, py::arg("isa") = "auto", py::arg("lengths") = py::none());
  m.def("surrogate_loss", &surrogate_loss, py::arg("x"), py::arg("h0_weight"), py::arg("h1_weight"),
        py::arg("tau"), py::arg("alpha"), py::arg("lambda_repel"), py::arg("lambda_attract"),
        py::arg("scale_by_mean"), py::arg("self_pairs"), py::arg("detach_scales"),
        py::arg("with_grad"), py::arg("threads") = 1, py::arg("isa") = "auto",
        py::arg("lengths") = py::none());
}

}  // namespace tsl::bindings
