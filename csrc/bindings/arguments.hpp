// What every function of the module asks of the arrays that it gets.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <string>
#include <utility>
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

inline py::array as_array(const py::handle& given, const char* name) {
  if (!py::isinstance<py::array>(given))
    throw py::type_error(std::string(name) + ": expected a NumPy array, got " +
                         py::type::handle_of(given).attr("__name__").cast<std::string>());
  return py::reinterpret_borrow<py::array>(given);
}

inline std::vector<py::array> as_arrays(const py::list& given, const char* name) {
  std::vector<py::array> arrays;
  arrays.reserve(given.size());
  for (const py::handle& one : given) arrays.push_back(as_array(one, name));
  return arrays;
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

inline std::size_t product(const Shape& shape) {
  std::size_t count = 1;
  for (const py::ssize_t size : shape) count *= static_cast<std::size_t>(size);
  return count;
}

inline Batch check_batch(const py::array& a, const char* name, bool square) {
  require_contiguous(a, name, 2);
  const py::ssize_t* const shape = a.shape();
  const py::ssize_t rank = a.ndim();
  Batch batch{Shape(shape, shape + rank - 2), 1, static_cast<std::size_t>(shape[rank - 2]),
              static_cast<std::size_t>(shape[rank - 1])};
  batch.B = product(batch.lead);
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

// How many points each cloud of a batch has: n, or the numbers given, int64 [...]. Then the rows
// behind them are padding, which nothing reads.
class Lengths {
 public:
  Lengths(std::vector<Index> points, std::size_t n)
      : B_(points.size()), n_(n), own_(std::move(points)), points_(own_.data()) {}
  Lengths(const Lengths&) = delete;
  Lengths& operator=(const Lengths&) = delete;

  Lengths(const py::object& given, const Batch& batch) : B_(batch.B), n_(batch.n) {
    if (given.is_none()) return;
    const py::array lengths = as_array(given, "lengths");
    require_contiguous(lengths, "lengths", 0);
    require(holds<Index>(lengths) && fits(lengths, batch, {}), "lengths",
            "int64 [...], one a cloud", lengths);
    points_ = data<Index>(lengths);
    array_ = lengths;
    for (std::size_t b = 0; b < B_; ++b)
      if (points_[b] < 0 || points_[b] > static_cast<Index>(n_))
        throw py::value_error("lengths: expected from 0 to " + std::to_string(n_) +
                              " points, got " + std::to_string(points_[b]));
  }

  bool differ() const { return points_ != nullptr; }
  std::size_t points(std::size_t b) const {
    return points_ ? static_cast<std::size_t>(points_[b]) : n_;
  }

  // Where the matrix [m, m] of each cloud begins if they lie one behind the other, and their end.
  std::vector<std::size_t> packed_starts() const {
    std::vector<std::size_t> starts(B_ + 1, 0);
    for (std::size_t b = 0; b < B_; ++b) starts[b + 1] = starts[b] + points(b) * points(b);
    return starts;
  }

  // The numbers of all clouds, those with the most points first.
  std::vector<std::size_t> largest_first() const {
    std::vector<std::size_t> order(B_);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [this](std::size_t a, std::size_t b) { return points(a) > points(b); });
    return order;
  }

 private:
  std::size_t B_, n_;
  py::object array_;
  std::vector<Index> own_;
  const Index* points_ = nullptr;
};

// Clouds in arrays of their own, [m, d] each: a batch of clouds of m points.
class SeparateClouds {
 public:
  SeparateClouds(const py::list& given, const char* name)
      : arrays_(as_arrays(given, name)), batch_(check(name)), lengths_(sizes(), batch_.n) {}

  const Batch& batch() const { return batch_; }
  const Lengths& lengths() const { return lengths_; }
  const py::array& first() const { return arrays_.front(); }

  template <class T>
  std::vector<const T*> begin() const {
    std::vector<const T*> begin;
    begin.reserve(arrays_.size());
    for (const py::array& cloud : arrays_) begin.push_back(data<T>(cloud));
    return begin;
  }

 private:
  Batch check(const char* name) const {
    if (arrays_.empty()) throw py::value_error(std::string(name) + ": expected at least one cloud");
    std::size_t n = 1;
    for (const py::array& cloud : arrays_) {
      const Batch one = check_batch(cloud, name, false);
      require(cloud.ndim() == 2 && cloud.dtype().is(first().dtype()) &&
                  cloud.shape(1) == first().shape(1),
              name, "clouds [m, d] of one dtype and d", cloud);
      n = std::max(n, one.n);
    }
    return {{static_cast<py::ssize_t>(arrays_.size())},
            arrays_.size(),
            n,
            static_cast<std::size_t>(first().shape(1))};
  }

  std::vector<Index> sizes() const {
    std::vector<Index> points;
    points.reserve(arrays_.size());
    for (const py::array& cloud : arrays_) points.push_back(cloud.shape(0));
    return points;
  }

  std::vector<py::array> arrays_;
  Batch batch_;
  Lengths lengths_;
};

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
