// Both formulations of TSLoss, with their gradients.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arguments.hpp"
#include "bindings/dlpack.hpp"
#include "bindings/workers.hpp"
#include "geometry/finite.hpp"
#include "losses/losses.hpp"
#include "losses/persistence_loss.hpp"
#include "losses/surrogate_loss.hpp"
#include "platform/isa.hpp"
#include "platform/kept.hpp"

namespace tsl::bindings {

// Runs one loss over a batch of clouds, of which cloud b begins at begin(b), and its gradient at
// gradient(b), null where none is asked for: (loss [...], L_H0 [...], L_H1 [...], grad). A cloud
// whose distances are not all finite gets NaN for its loss and its terms. The gradient of `rows`
// rows is 0 behind the points that a cloud has.
template <class Loss, class T, class Options, class Begin, class Gradient>
py::tuple run_loss(Begin begin, Gradient gradient, const py::object& grad, const Batch& batch,
                   const Lengths& lengths, std::size_t rows, const Options& options,
                   std::size_t threads, Isa isa) {
  py::array_t<T> totals(batch.lead);
  py::array_t<T> h0_terms(batch.lead);
  py::array_t<T> h1_terms(batch.lead);
  const auto cost = [](const Nanoseconds& each) {
    return each.distances() + each.differences() + each.h1();
  };
  T* loss_out = totals.mutable_data();
  T* h0_out = h0_terms.mutable_data();
  T* h1_out = h1_terms.mutable_data();
  for_each_cloud_without_gil(batch, lengths, cost, threads, [&] {
    auto loss = kept_engine<Loss>(batch.n);
    return [&, loss](std::size_t b) {
      const std::size_t m = lengths.points(b);
      T* const grad_x = gradient(b);
      const losses::LossTerms terms = loss->compute(options, begin(b), m, batch.d, isa, grad_x);
      if (grad_x && m < rows) std::fill(grad_x + m * batch.d, grad_x + rows * batch.d, T{0});
      loss_out[b] = static_cast<T>(options.weights.h0 * terms.h0 + options.weights.h1 * terms.h1);
      h0_out[b] = static_cast<T>(terms.h0);
      h1_out[b] = static_cast<T>(terms.h1);
    };
  });
  return py::make_tuple(totals, h0_terms, h1_terms, grad);
}

// Of clouds that lie one behind the other; the gradient is [..., n, d] or None.
template <class Loss, class T, class Options>
py::tuple loss_of_batch(const T* in, const Batch& batch, const Lengths& lengths,
                        const Options& options, bool with_grad, std::size_t threads, Isa isa) {
  py::object grad = py::none();
  T* grad_out = nullptr;
  if (with_grad) {
    py::array_t<T> array(batch.with({batch.n, batch.d}));
    grad_out = array.mutable_data();
    grad = std::move(array);
  }
  const std::size_t step = batch.n * batch.d;
  return run_loss<Loss, T>([=](std::size_t b) { return in + b * step; },
                           [=](std::size_t b) { return grad_out ? grad_out + b * step : nullptr; },
                           grad, batch, lengths, batch.n, options, threads, isa);
}

// Of clouds in arrays of their own; the gradient is a list of arrays, or None.
template <class Loss, class T, class Options>
py::tuple loss_of_each(const SeparateClouds& clouds, const Options& options, bool with_grad,
                       std::size_t threads, Isa isa) {
  const Batch& batch = clouds.batch();
  std::vector<T*> gradients(batch.B, nullptr);
  py::object grad = py::none();
  if (with_grad) {
    py::list arrays(batch.B);
    for (std::size_t b = 0; b < batch.B; ++b) {
      py::array_t<T> array(Shape{static_cast<py::ssize_t>(clouds.lengths().points(b)),
                                 static_cast<py::ssize_t>(batch.d)});
      gradients[b] = array.mutable_data();
      arrays[b] = std::move(array);
    }
    grad = std::move(arrays);
  }
  const std::vector<const T*> begins = clouds.begin<T>();
  return run_loss<Loss, T>([&](std::size_t b) { return begins[b]; },
                           [&](std::size_t b) { return gradients[b]; }, grad, batch,
                           clouds.lengths(), 0, options, threads, isa);
}

// Of a tensor that may be anything, given as a DLPack capsule: None where the engine cannot read
// it, and where a loss is not finite. For small clouds these questions take less time than from
// Python.
template <template <class> class Loss, class Options>
py::object loss_of_tensor(const py::capsule& memory, const Options& options, bool with_grad,
                          std::size_t threads, Isa isa, const py::object& given_lengths) {
  const DLTensor& x = tensor_of(memory);
  const std::optional<Batch> batch = readable_batch(x);
  if (!batch) return py::none();
  const Lengths lengths(given_lengths, *batch);
  const auto finite = [&](auto zero) -> py::object {
    using T = decltype(zero);
    py::tuple results = loss_of_batch<Loss<T>, T>(x.entries<T>(), *batch, lengths, options,
                                                  with_grad, threads, isa);
    const py::array losses = results[0];
    if (!geometry::all_finite(data<T>(losses), batch->B)) return py::none();
    return std::move(results);
  };
  return x.bits == 32 ? finite(float{}) : finite(double{});
}

// `x` is an array [..., n, d] or its memory by DLPack, or a list of arrays [m, d].
template <template <class> class Loss, class Options>
py::object loss_of(const py::object& x, const Options& options, bool with_grad, std::size_t threads,
                   const std::string& isa_text, const py::object& given_lengths) {
  const Isa isa = parse_isa(isa_text);
  if (py::isinstance<py::list>(x)) {
    const SeparateClouds clouds(x, "x");
    return with_float_type(clouds.first(), "x", [&](auto zero) {
      using T = decltype(zero);
      return loss_of_each<Loss<T>, T>(clouds, options, with_grad, threads, isa);
    });
  }
  if (py::isinstance<py::capsule>(x))
    return loss_of_tensor<Loss>(x.cast<py::capsule>(), options, with_grad, threads, isa,
                                given_lengths);
  const py::array array = as_array(x, "x");
  const Batch batch = check_batch(array, "x", false);
  const Lengths lengths(given_lengths, batch);
  return with_float_type(array, "x", [&](auto zero) {
    using T = decltype(zero);
    return loss_of_batch<Loss<T>, T>(data<T>(array), batch, lengths, options, with_grad, threads,
                                     isa);
  });
}

inline py::object persistence_loss(const py::object& x, double h0_weight, double h1_weight,
                                   double h1_power, bool scale_by_mean, bool with_grad,
                                   std::size_t threads, const std::string& isa_text,
                                   const py::object& lengths) {
  const losses::PersistenceOptions options{{h0_weight, h1_weight, scale_by_mean}, h1_power};
  return loss_of<losses::PersistenceLoss>(x, options, with_grad, threads, isa_text, lengths);
}

inline py::object surrogate_loss(const py::object& x, double h0_weight, double h1_weight,
                                 double tau, double alpha, double lambda_repel,
                                 double lambda_attract, bool scale_by_mean, bool self_pairs,
                                 bool detach_scales, bool with_grad, std::size_t threads,
                                 const std::string& isa_text, const py::object& lengths) {
  const losses::SurrogateOptions options{{h0_weight, h1_weight, scale_by_mean},
                                         tau,
                                         alpha,
                                         lambda_repel,
                                         lambda_attract,
                                         self_pairs,
                                         detach_scales};
  return loss_of<losses::SurrogateLoss>(x, options, with_grad, threads, isa_text, lengths);
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
