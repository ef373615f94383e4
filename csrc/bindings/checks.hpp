// Looks for what no cloud and no distance matrix may hold.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>

#include "bindings/arguments.hpp"
#include "geometry/finite.hpp"

namespace tsl::bindings {

// Flat index of the first NaN or infinity, or -1.
inline Index first_nonfinite(const py::array& a) {
  require_contiguous(a, "a", 0);
  return with_float_type(a, "a", [&](auto zero) -> Index {
    using T = decltype(zero);
    const T* values = data<T>(a);
    const auto size = static_cast<std::size_t>(a.size());
    if (geometry::all_finite(values, size)) return -1;
    const T* first = std::find_if(values, values + size, [](T v) { return !std::isfinite(v); });
    return static_cast<Index>(first - values);
  });
}

template <class T>
const char* entry_fault(T value, T mirrored, bool diagonal) {
  if (!std::isfinite(value) || !std::isfinite(mirrored)) return "not finite";
  if (diagonal) return value == 0 ? nullptr : "non-zero on the diagonal";
  if (value != mirrored) return "asymmetric";
  return value < 0 ? "negative" : nullptr;
}

// Whether no entry of the matrix has a fault. Goes through the matrix in tiles, because the
// mirrored entries of one row lie far apart, and without a branch.
template <class T>
bool is_distance_matrix(const T* matrix, std::size_t n) {
  constexpr std::size_t kTile = 16;
  if (!geometry::all_finite(matrix, n * n)) return false;
  bool faulty = false;
  for (std::size_t i = 0; i < n; ++i) faulty |= matrix[i * n + i] != 0;
  for (std::size_t i0 = 0; i0 < n; i0 += kTile)
    for (std::size_t j0 = 0; j0 <= i0; j0 += kTile)
      for (std::size_t i = i0; i < std::min(n, i0 + kTile); ++i)
        for (std::size_t j = j0; j < std::min(n, j0 + kTile); ++j)
          faulty |= (matrix[i * n + j] < 0) | (matrix[i * n + j] != matrix[j * n + i]);
  return !faulty;
}

// An entry [i, j] of matrix b of a batch, with what is wrong about it.
struct MatrixFault {
  const char* what;
  std::size_t b, i, j;
};

// The first entry that no distance matrix has.
template <class T>
std::optional<MatrixFault> find_matrix_fault(const T* matrix, const Batch& batch) {
  const std::size_t n = batch.n;
  for (std::size_t b = 0; b < batch.B; ++b, matrix += n * n) {
    if (is_distance_matrix(matrix, n)) continue;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i; j < n; ++j)
        if (const char* what = entry_fault(matrix[i * n + j], matrix[j * n + i], i == j))
          return MatrixFault{what, b, i, j};
  }
  return std::nullopt;
}

// (what, b, i, j), or None.
inline py::object as_python(const std::optional<MatrixFault>& fault) {
  if (!fault) return py::none();
  return py::make_tuple(fault->what, fault->b, fault->i, fault->j);
}

inline py::object first_matrix_fault(const py::array& D) {
  const Batch batch = check_batch(D, "D", true);
  return with_float_type(D, "D", [&](auto zero) {
    return as_python(find_matrix_fault(data<decltype(zero)>(D), batch));
  });
}

inline void define_checks(py::module_& m) {
  m.def("first_nonfinite", &first_nonfinite, py::arg("a"));
  m.def("first_matrix_fault", &first_matrix_fault, py::arg("D"));
}

}  // namespace tsl::bindings
