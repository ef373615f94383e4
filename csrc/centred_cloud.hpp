// Distances and sums of differences as products of matrices, which take half the operations that
// differences take. A product loses the digits of pairs that are near to each other for their distance
// from the centre, so those are computed from their differences.
#pragma once

#include <cstddef>
#include <vector>

#include "aligned.hpp"
#include "edge_scatter.hpp"
#include "filtration.hpp"
#include "isa.hpp"

namespace tsl {

template <class T>
class CentredCloud {
 public:
  // Takes the cloud x [n, d], which must stay where it is.
  void set(const T* x, std::size_t n, std::size_t d, Isa isa);

  // Writes the distances D [n, n]: each within a few roundings, not the bits of pairwise_distances.
  void distances(T* D);

  // grad_x[i] = sum_j weights[i, j] * (x[i] - x[j]), for symmetric weights [n, n] with a zero
  // diagonal. distances() comes before it. Overwrites the weights.
  void sum_differences(T* weights, T* grad_x);

 private:
  // A product is trusted for pairs with d^2 of at least this share of the sum of their squared norms.
  // Then its error is at most 8 times that of a squared norm.
  static constexpr T kLeastShare = T{0.25};

  Isa isa_ = Isa::kPlain;
  const T* x_ = nullptr;
  std::size_t n_ = 0;
  std::size_t d_ = 0;
  // Rows of the centred cloud stand this far apart; behind d there are zeros.
  std::size_t stride_ = 0;
  AlignedVector<T> centred_;
  std::vector<Edge> near_;
  EdgeScatter<T> near_differences_;
};

}  // namespace tsl
