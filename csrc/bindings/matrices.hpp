// The distance matrices of a batch, however they lie.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "bindings/arguments.hpp"
#include "rips/filtration.hpp"

namespace tsl::bindings {

// The lengths of one cloud's edges; a vertex v, which is written as the edge (v, v), is born at 0.
template <class T>
struct EdgeLengths {
  const T* D;
  std::size_t stride;

  T of(rips::Edge e) const {
    const rips::Vertex i = rips::first(e), j = rips::second(e);
    return i == j ? T{0} : D[i * stride + j];
  }
};

// Matrices [B, n, n], of which each cloud fills as many rows and columns as it has points; or
// packed, [points, points] each and one behind the other.
template <class T>
class Matrices {
 public:
  Matrices(const T* D, const Batch& batch, const Lengths& lengths, bool packed = false)
      : D_(D), n_(batch.n), lengths_(lengths) {
    if (packed) starts_ = lengths.packed_starts();
  }

  std::size_t points(std::size_t b) const { return lengths_.points(b); }

  // Where the matrix of cloud b begins, and how far apart its rows lie.
  const T* begin(std::size_t b) const { return D_ + (starts_.empty() ? b * n_ * n_ : starts_[b]); }
  std::size_t stride(std::size_t b) const { return starts_.empty() ? n_ : points(b); }

  // The [points, points] matrix of cloud b; `corner` holds it where it has to be cut out.
  const T* of(std::size_t b, std::vector<T>& corner) const {
    const T* const matrix = begin(b);
    const std::size_t m = points(b), apart = stride(b);
    if (m == apart) return matrix;
    corner.resize(m * m);
    for (std::size_t i = 0; i < m; ++i) std::copy_n(matrix + i * apart, m, corner.data() + i * m);
    return corner.data();
  }

  EdgeLengths<T> edge_lengths(std::size_t b) const { return {begin(b), stride(b)}; }

 private:
  const T* D_;
  std::size_t n_;
  const Lengths& lengths_;
  std::vector<std::size_t> starts_;
};

}  // namespace tsl::bindings
