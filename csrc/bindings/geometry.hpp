// Distances, lengths of edges, and the gradients of functions of both.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arguments.hpp"
#include "bindings/workers.hpp"
#include "geometry/distances.hpp"
#include "geometry/edge_scatter.hpp"
#include "platform/isa.hpp"
#include "platform/kept.hpp"

namespace tsl::bindings {

inline py::array distances(const py::array& x, std::size_t threads, const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  const Isa isa = parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    py::array_t<T> D(batch.with({batch.n, batch.n}));
    const T* in = data<T>(x);
    T* out = D.mutable_data();
    for_each_cloud_without_gil(batch, Nanoseconds(batch).distances(), threads, [&] {
      return [&](std::size_t b) {
        geometry::pairwise_distances(in + b * batch.n * batch.d, batch.n, batch.d,
                                     out + b * batch.n * batch.n, isa);
      };
    });
    return D;
  });
}

// The distances [m, m] of clouds of m points each, of which cloud b begins at begin(b), one matrix
// behind the other.
template <class T, class Begin>
py::array pack_distances(Begin begin, const Batch& batch, const Lengths& lengths,
                         std::size_t threads) {
  const std::vector<std::size_t> starts = lengths.packed_starts();
  py::array_t<T> D(static_cast<py::ssize_t>(starts.back()));
  T* out = D.mutable_data();
  const Isa isa = best_isa();
  const auto cost = [](const Nanoseconds& each) { return each.distances(); };
  for_each_cloud_without_gil(batch, lengths, cost, threads, [&] {
    return [&](std::size_t b) {
      geometry::pairwise_distances(begin(b), lengths.points(b), batch.d, out + starts[b], isa);
    };
  });
  return std::move(D);
}

inline py::array packed_distances(const py::array& x, const py::array& given_lengths,
                                  std::size_t threads) {
  const Batch batch = check_batch(x, "x", false);
  const Lengths lengths(given_lengths, batch);
  return with_float_type(x, "x", [&](auto zero) {
    using T = decltype(zero);
    const auto begin = [&](std::size_t b) { return data<T>(x) + b * batch.n * batch.d; };
    return pack_distances<T>(begin, batch, lengths, threads);
  });
}

inline py::array packed_distances_of_each(const py::list& x, std::size_t threads) {
  const SeparateClouds clouds(x, "x");
  return with_float_type(clouds.first(), "x", [&](auto zero) {
    using T = decltype(zero);
    const std::vector<const T*> begins = clouds.begin<T>();
    const auto begin = [&](std::size_t b) { return begins[b]; };
    return pack_distances<T>(begin, clouds.batch(), clouds.lengths(), threads);
  });
}

// sum_j weights_ij (x_i - x_j): the gradient of any function of the distances.
inline py::array scatter_differences(const py::array& x, const py::array& weights,
                                     std::size_t threads, const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  require_contiguous(weights, "weights", 2);
  require(fits(weights, batch, {batch.n, batch.n}), "weights", "[..., n, n] for x [..., n, d]",
          weights);
  require(weights.dtype().is(x.dtype()), "weights", "the dtype of x", weights);
  const Isa isa = parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    py::array_t<T> grad(batch.with({batch.n, batch.d}));
    const T* in = data<T>(x);
    const T* w = data<T>(weights);
    T* out = grad.mutable_data();
    for_each_cloud_without_gil(batch, Nanoseconds(batch).differences(), threads, [&] {
      return [&](std::size_t b) {
        const std::size_t at = b * batch.n * batch.d;
        geometry::scatter_differences(in + at, w + b * batch.n * batch.n, batch.n, batch.d,
                                      out + at, isa);
      };
    });
    return grad;
  });
}

inline py::array edge_lengths(const py::array& x, const py::array& edges, std::size_t threads,
                              const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  const std::size_t K = check_edges(edges, batch);
  const Isa isa = parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    py::array_t<T> lengths(batch.with({K}));
    const T* in = data<T>(x);
    const Index* index = data<Index>(edges);
    T* out = lengths.mutable_data();
    for_each_cloud_without_gil(batch, Nanoseconds(batch).edges(K), threads, [&] {
      return [&](std::size_t b) {
        geometry::edge_lengths(in + b * batch.n * batch.d, index + b * K * 2, K, batch.d,
                               out + b * K, isa);
      };
    });
    return lengths;
  });
}

// weights_k (x_i - x_j) added to row i and taken from row j, edge by edge in the given order.
inline py::array scatter_edges(const py::array& x, const py::array& edges, const py::array& weights,
                               std::size_t threads, const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  const std::size_t K = check_edges(edges, batch);
  require_contiguous(weights, "weights", 1);
  require(fits(weights, batch, {K}) && weights.dtype().is(x.dtype()), "weights",
          "[..., K] in the dtype of x", weights);
  const Isa isa = parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    py::array_t<T> grad(batch.with({batch.n, batch.d}));
    const T* in = data<T>(x);
    const T* w = data<T>(weights);
    const Index* index = data<Index>(edges);
    T* out = grad.mutable_data();
    for_each_cloud_without_gil(batch, Nanoseconds(batch).edges(K), threads, [&] {
      auto scatter = kept_engine<geometry::EdgeScatter<T>>(batch.n);
      return [&, scatter](std::size_t b) {
        scatter->clear();
        for (std::size_t k = b * K; k < (b + 1) * K; ++k) {
          const Index i = index[2 * k];
          const Index j = index[2 * k + 1];
          // Neither padding nor loops add anything, nor does a weight of 0 at an infinite point.
          if (i >= 0 && j >= 0 && i != j && w[k] != 0)
            scatter->add(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j), w[k]);
        }
        const std::size_t at = b * batch.n * batch.d;
        scatter->write(in + at, batch.n, batch.d, out + at, isa);
      };
    });
    return grad;
  });
}

inline void define_geometry(py::module_& m) {
  m.def("distances", &distances, py::arg("x"), py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("packed_distances", &packed_distances, py::arg("x"), py::arg("lengths"),
        py::arg("threads") = 1);
  m.def("packed_distances_of_each", &packed_distances_of_each, py::arg("x"),
        py::arg("threads") = 1);
  m.def("scatter_differences", &scatter_differences, py::arg("x"), py::arg("weights"),
        py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("edge_lengths", &edge_lengths, py::arg("x"), py::arg("edges"), py::arg("threads") = 1,
        py::arg("isa") = "auto");
  m.def("scatter_edges", &scatter_edges, py::arg("x"), py::arg("edges"), py::arg("weights"),
        py::arg("threads") = 1, py::arg("isa") = "auto");
}

}  // namespace tsl::bindings
