// sum_j w_ij (x_i - x_j), the gradient of a function of the distances, as a product of matrices:
// half the operations that differences take.
#pragma once

#include <cstddef>
#include <vector>

#include "geometry/edge_scatter.hpp"
#include "platform/aligned.hpp"
#include "platform/isa.hpp"

namespace tsl::geometry {

// 0 or less for a near pair, coincident points among them: its square over the share of the sum of
// those from the mean. Where squares leave the range of T, so does the loss.
template <class T>
T excess(T length, T squares, T share) {
  return length * length - share * squares;
}

// The product is (diag(w 1) - w) (x - mean). It loses the digits of pairs that are near to each
// other for their distance from the mean, so those are summed as differences.
template <class T>
class DifferenceSums {
 public:
  // Writes grad_x [n, d] for the cloud x [n, d], its distances D and symmetric weights w, both [n,
  // n]; the weights have a zero diagonal and are overwritten.
  void write(const T* x, const T* D, T* w, std::size_t n, std::size_t d, T* grad_x, Isa isa);

 private:
  // A pair is summed in the product where its squared distance is at least this share of the sum of
  // its squared distances from the mean: then neither of these is more than twice as long as the
  // pair.
  static constexpr T kLeastShare = T{0.25};

  bool take_near_pairs(const T* D, T* w, std::size_t n, Isa isa);

  // Squared distances from the mean.
  std::vector<T> squares_;
  EdgeScatter<T> near_;
  // A strip of coordinates of all points, and of the product.
  AlignedVector<T> strip_;
};

}  // namespace tsl::geometry
