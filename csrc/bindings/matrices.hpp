// The distance matrices of a batch, however they lie.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "bindings/arguments.hpp"
#include "rips/filtration.hpp"

namespace tsl::bindings {

// When the edges of one cloud enter: at their lengths, and not before the births of their vertices,
// where these are given. A vertex v is written as the edge (v, v); without births it is born at 0.
template <class T>
struct EdgeLengths {
  const T* D;
  std::size_t stride;
  const T* births;  // may be null

  T of(rips::Edge e) const { return of(rips::first(e), rips::second(e)); }

  T of(std::size_t i, std::size_t j) const {
    if (i == j) return births ? births[i] : T{0};
    const T length = D[i * stride + j];
    return births ? std::max(length, std::max(births[i], births[j])) : length;
  }
};

// Matrices [B, n, n], of which each cloud fills as many rows and columns as it has points; or
// packed, [points, points] each and one behind the other.
template <class T>
class Matrices {
 public:
  // `births` are [B, n], those of the vertices, or null.
  Matrices(const T* D, const Batch& batch, const Lengths& lengths, const T* births = nullptr,
           bool packed = false)
      : D_(D), n_(batch.n), lengths_(lengths), births_(births) {
    if (packed) starts_ = lengths.packed_starts();
  }

  std::size_t points(std::size_t b) const { return lengths_.points(b); }

  // Where the matrix of cloud b begins, and how far apart its rows lie.
  const T* begin(std::size_t b) const { return D_ + (starts_.empty() ? b * n_ * n_ : starts_[b]); }
  std::size_t stride(std::size_t b) const { return starts_.empty() ? n_ : points(b); }

  const T* births(std::size_t b) const { return births_ ? births_ + b * n_ : nullptr; }

  // The [points, points] matrix of cloud b, by which its edges enter; `corner` holds it where it
  // has to be cut out, or to be made of lengths and births.
  const T* of(std::size_t b, std::vector<T>& corner) const {
    const T* const matrix = begin(b);
    const std::size_t m = points(b), apart = stride(b);
    if (m == apart && !births_) return matrix;
    corner.resize(m * m);
    for (std::size_t i = 0; i < m; ++i) std::copy_n(matrix + i * apart, m, corner.data() + i * m);
    if (births_) wait_for_births(births(b), m, corner.data());
    return corner.data();
  }

  EdgeLengths<T> edge_lengths(std::size_t b) const { return {begin(b), stride(b), births(b)}; }

 private:
  // Lengths that were not negative stay so, and the diagonal stays 0.
  static void wait_for_births(const T* births, std::size_t m, T* D) {
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < m; ++j)
        if (i != j) D[i * m + j] = std::max(D[i * m + j], std::max(births[i], births[j]));
  }

  const T* D_;
  std::size_t n_;
  const Lengths& lengths_;
  const T* births_;
  std::vector<std::size_t> starts_;
};

}  // namespace tsl::bindings
