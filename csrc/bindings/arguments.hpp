// What every function of the module asks of the arrays that it gets.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "rips/filtration.hpp"

namespace tsl::bindings {

namespace py = pybind11;

using Index = std::int64_t;

inline std::string describe(const py::array& a) {
  std::string shape;
  for (py::ssize_t k = 0; k < a.ndim(); ++k) shape += (k ? ", " : "") + std::to_string(a.shape(k));
  return py::str(a.dtype()).cast<std::string>() + " [" + shape + "]";
}

inline void require(bool holds, const char* name, const std::string& expected,
                    const py::array& got) {
  if (!holds)
    throw py::value_error(std::string(name) + ": expected " + expected + ", got " + describe(got));
}

inline void require_contiguous(const py::array& a, const char* name, py::ssize_t rank) {
  if (a.ndim() < rank || (a.flags() & py::array::c_style) == 0)
    require(false, name, "a contiguous array of rank " + std::to_string(rank) + " or more", a);
}

using Shape = std::vector<py::ssize_t>;

// Clouds [..., n, d] or matrices [..., n, n]: B of them, in the leading dimensions.
struct Batch {
  Shape lead;
  std::size_t B, n, d;

  // Bars of H0 in each cloud.
  std::size_t h0_bars() const { return n > 0 ? n - 1 : 0; }

  // The leading dimensions, and others behind them.
  Shape with(std::initializer_list<std::size_t> trailing) const {
    Shape shape = lead;
    for (const std::size_t size : trailing) shape.push_back(static_cast<py::ssize_t>(size));
    return shape;
  }
};

inline Batch check_batch(const py::array& a, const char* name, bool square) {
  require_contiguous(a, name, 2);
  const py::ssize_t* const shape = a.shape();
  const py::ssize_t rank = a.ndim();
  Batch batch{Shape(shape, shape + rank - 2), 1, static_cast<std::size_t>(shape[rank - 2]),
              static_cast<std::size_t>(shape[rank - 1])};
  for (const py::ssize_t size : batch.lead) batch.B *= static_cast<std::size_t>(size);
  if (square && batch.n != batch.d) require(false, name, "square matrices [..., n, n]", a);
  if (batch.n > rips::kMaxPoints)
    require(false, name, "at most " + std::to_string(rips::kMaxPoints) + " points", a);
  return batch;
}

// Whether `a` has the leading dimensions of the batch, and the given ones behind them.
inline bool fits(const py::array& a, const Batch& batch,
                 std::initializer_list<std::size_t> trailing) {
  const Shape expected = batch.with(trailing);
  return a.ndim() == static_cast<py::ssize_t>(expected.size()) &&
         std::equal(expected.begin(), expected.end(), a.shape());
}

template <class T>
inline bool holds(const py::array& a) {
  return py::isinstance<py::array_t<T>>(a);
}

// Calls run(T{}) with the floating type of `a`.
template <class Run>
auto with_float_type(const py::array& a, const char* name, Run run) {
  if (holds<float>(a)) return run(float{});
  if (holds<double>(a)) return run(double{});
  throw py::type_error(std::string(name) + ": expected float32 or float64, got " + describe(a));
}

template <class T>
const T* data(const py::array& a) {
  return static_cast<const T*>(a.data());
}

// Checks that edges [..., K, 2] name vertices of the batch's clouds or are padding; returns K.
inline std::size_t check_edges(const py::array& edges, const Batch& batch) {
  require_contiguous(edges, "edges", 2);
  const auto K = static_cast<std::size_t>(edges.shape(edges.ndim() - 2));
  require(holds<Index>(edges) && fits(edges, batch, {K, 2}), "edges", "int64 [..., K, 2]", edges);
  const Index* index = data<Index>(edges);
  for (py::ssize_t k = 0; k < edges.size(); ++k)
    if (index[k] < -1 || index[k] >= static_cast<Index>(batch.n))
      throw py::value_error("edges: expected vertices from 0 to " + std::to_string(batch.n - 1) +
                            " or padding -1, got " + std::to_string(index[k]));
  return K;
}

}  // namespace tsl::bindings
