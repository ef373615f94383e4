// Looks for what no cloud and no distance matrix may hold.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

#include "bindings/arguments.hpp"
#include "geometry/finite.hpp"
#include "geometry/symmetry.hpp"

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

// Whether a and b differ by rounding alone, where `typical` is the size of the distances around
// them: by 1e-5 of the larger, as in a matrix that was printed; or their squares by 256 units in
// the last place of typical squared, as where |a|^2 + |b|^2 - 2ab was formed from points of that
// size.
template <class T>
bool equal_up_to_rounding(T a, T b, T typical) {
  if (a == b) return true;
  const T largest = std::max(std::fabs(a), std::fabs(b)), off = std::fabs(a - b);
  if (!std::isfinite(off)) return false;
  if (off <= static_cast<T>(1e-5) * largest) return true;
  const T sum = std::fabs(a) + std::fabs(b);
  return off / typical * (sum / typical) <= 256 * std::numeric_limits<T>::epsilon();
}

// What is wrong with an entry, or null. Infinity off the diagonal says that there is no edge.
template <class T>
const char* entry_fault(T value, T mirrored, bool diagonal, T typical) {
  if (std::isnan(value) || std::isnan(mirrored)) return "not a number";
  if (diagonal)
    return equal_up_to_rounding(value, T{0}, typical) ? nullptr : "non-zero on the diagonal";
  if (value < 0 || mirrored < 0) return "negative";
  return equal_up_to_rounding(value, mirrored, typical) ? nullptr : "asymmetric";
}

// The median of each row's finite distances, the lower of two; 0 where it has none.
template <class T>
std::vector<T> row_medians(const T* matrix, std::size_t n) {
  std::vector<T> medians(n, T{0}), finite;
  for (std::size_t i = 0; i < n; ++i) {
    finite.clear();
    for (std::size_t j = 0; j < n; ++j)
      if (j != i && std::isfinite(matrix[i * n + j])) finite.push_back(matrix[i * n + j]);
    if (finite.empty()) continue;
    const auto middle = finite.begin() + static_cast<std::ptrdiff_t>((finite.size() - 1) / 2);
    std::nth_element(finite.begin(), middle, finite.end());
    medians[i] = *middle;
  }
  return medians;
}

// An entry [i, j] of matrix b of a batch, with what is wrong about it.
struct MatrixFault {
  const char* what;
  std::size_t b, i, j;
};

// The first entry that no distance matrix has, up to rounding. `rounded` says whether a matrix is
// none exactly.
template <class T>
std::optional<MatrixFault> find_matrix_fault(const T* matrix, const Batch& batch, bool& rounded) {
  const std::size_t n = batch.n;
  rounded = false;
  for (std::size_t b = 0; b < batch.B; ++b, matrix += n * n) {
    if (geometry::is_distance_matrix(matrix, n)) continue;
    rounded = true;
    const std::vector<T> medians = row_medians(matrix, n);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i; j < n; ++j)
        if (const char* what = entry_fault(matrix[i * n + j], matrix[j * n + i], i == j,
                                           std::max(medians[i], medians[j])))
          return MatrixFault{what, b, i, j};
  }
  return std::nullopt;
}

// The matrices that the upper triangles of others make.
template <class T>
std::vector<T> mirrored(const T* matrix, const Batch& batch) {
  const std::size_t n = batch.n;
  std::vector<T> symmetric(batch.B * n * n, T{0});
  T* out = symmetric.data();
  for (std::size_t b = 0; b < batch.B; ++b, matrix += n * n, out += n * n)
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i + 1; j < n; ++j) out[i * n + j] = out[j * n + i] = matrix[i * n + j];
  return symmetric;
}

// The first entry at fault of packed matrices, of which each has as many rows as its cloud points.
// `symmetric` becomes what their upper triangles make where one of them is rounded.
template <class T>
std::optional<MatrixFault> find_packed_fault(const T* D, const Lengths& lengths,
                                             std::vector<T>& symmetric) {
  const std::vector<std::size_t> starts = lengths.packed_starts();
  for (std::size_t b = 0; b + 1 < starts.size(); ++b) {
    const Batch one{{}, 1, lengths.points(b), lengths.points(b)};
    bool rounded = false;
    if (std::optional<MatrixFault> fault = find_matrix_fault(D + starts[b], one, rounded)) {
      fault->b = b;
      return fault;
    }
    if (!rounded) continue;
    if (symmetric.empty()) symmetric.assign(D, D + starts.back());
    const std::vector<T> exact = mirrored(D + starts[b], one);
    std::copy(exact.begin(), exact.end(), symmetric.data() + starts[b]);
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
    bool rounded = false;
    return as_python(find_matrix_fault(data<decltype(zero)>(D), batch, rounded));
  });
}

inline void define_checks(py::module_& m) {
  m.def("first_nonfinite", &first_nonfinite, py::arg("a"));
  m.def("first_matrix_fault", &first_matrix_fault, py::arg("D"));
}

}  // namespace tsl::bindings
