// sum_j w_ij (x_i - x_j), the gradient of a function of the distances, as a product of matrices,
// which takes half the operations of a sum of differences.
#pragma once

#include <cstddef>
#include <vector>

#include "geometry/edge_scatter.hpp"
#include "platform/aligned.hpp"
#include "platform/isa.hpp"

namespace tsl::geometry {

// `squares` is the sum of the squared distances of two points from the mean. The pair is near if
// its own squared distance is at most `share` times that, so if the result is 0 or less; coincident
// points always are. Where squares leave the range of T, the loss does so too.
template <class T>
T excess(T length, T squares, T share) {
  return length * length - share * squares;
}

// The product is (diag(w 1) - w) (x - mean). Two points that are much nearer to each other than to
// the mean would cancel in it and lose their digits, so the differences of such near pairs are
// summed one by one.
template <class T>
class DifferenceSums {
 public:
  // Writes grad_x [n, d] for the cloud x [n, d], its distances D [n, n] and symmetric weights
  // w [n, n]; the weights have a zero diagonal and are overwritten.
  void write(const T* x, const T* D, T* w, std::size_t n, std::size_t d, T* grad_x, Isa isa);

 private:
  // The share of excess(). The points of a pair that is not near are at most twice as far from the
  // mean as from each other.
  static constexpr T kLeastShare = T{0.25};

  bool take_near_pairs(const T* D, T* w, std::size_t n, Isa isa);

  // Squared distances from the mean.
  std::vector<T> squares_;
  EdgeScatter<T> near_;
  // A strip of coordinates of all points, then the same strip of the product.
  AlignedVector<T> strip_;
};

}  // namespace tsl::geometry
