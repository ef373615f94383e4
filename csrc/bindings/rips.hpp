// H0 and H1 of distance matrices.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "bindings/arguments.hpp"
#include "bindings/bars.hpp"
#include "bindings/workers.hpp"
#include "platform/isa.hpp"
#include "platform/kept.hpp"
#include "rips/h0.hpp"
#include "rips/h1.hpp"

namespace tsl::bindings {

template <class T>
Bars bars_of_h0(const T* D, const Batch& batch, std::size_t threads) {
  Bars bars(batch.B);
  for_each_cloud_without_gil(batch, Nanoseconds(batch).h0(), threads, [&] {
    auto engine = kept_engine<rips::H0<T>>(batch.n);
    return [&, engine](std::size_t b) {
      engine->compute(D + b * batch.n * batch.n, batch.n, bars[b]);
    };
  });
  return bars;
}

template <class T>
std::pair<Bars, Bars> bars_of_h1(const T* D, const Batch& batch, std::size_t threads, Isa isa) {
  Bars h0(batch.B);
  Bars h1(batch.B);
  for_each_cloud_without_gil(batch, Nanoseconds(batch).h1(), threads, [&] {
    auto engine = kept_engine<rips::H1<T>>(batch.n);
    return [&, engine](std::size_t b) {
      engine->compute(D + b * batch.n * batch.n, batch.n, isa, h0[b], h1[b]);
    };
  });
  return {std::move(h0), std::move(h1)};
}

inline py::array_t<Index> h0(const py::array& D, std::size_t threads) {
  const Batch batch = check_batch(D, "D", true);
  return with_float_type(D, "D", [&](auto zero) {
    using T = decltype(zero);
    return pack_h0(bars_of_h0(data<T>(D), batch, threads), batch);
  });
}

inline py::tuple h1(const py::array& D, std::size_t threads, const std::string& isa_text) {
  const Batch batch = check_batch(D, "D", true);
  const Isa isa = parse_isa(isa_text);
  return with_float_type(D, "D", [&](auto zero) {
    using T = decltype(zero);
    const auto [h0_bars, h1_bars] = bars_of_h1(data<T>(D), batch, threads, isa);
    return py::make_tuple(pack_h0(h0_bars, batch), pack_h1(h1_bars, batch));
  });
}

// The diagrams of H0, and of H1 where max_dim is 1, as the fields of a PersistenceDiagram.
inline py::tuple diagrams(const py::array& D, int max_dim, std::size_t threads,
                          const std::string& isa_text) {
  const Batch batch = check_batch(D, "D", true);
  const Isa isa = parse_isa(isa_text);
  return with_float_type(D, "D", [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    const T* in = data<T>(D);
    const std::size_t K = batch.h0_bars();
    if (max_dim == 0)
      return py::make_tuple(diagram_arrays(bars_of_h0(in, batch, threads), K, in, batch));
    const auto [h0_bars, h1_bars] = bars_of_h1(in, batch, threads, isa);
    return py::make_tuple(diagram_arrays(h0_bars, K, in, batch),
                          diagram_arrays(h1_bars, most_bars(h1_bars), in, batch));
  });
}

inline void define_rips(py::module_& m) {
  m.attr("max_points") = rips::kMaxPoints;
  m.def("h0", &h0, py::arg("D"), py::arg("threads") = 1);
  m.def("h1", &h1, py::arg("D"), py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("diagrams", &diagrams, py::arg("D"), py::arg("max_dim"), py::arg("threads") = 1,
        py::arg("isa") = "auto");
}

}  // namespace tsl::bindings
