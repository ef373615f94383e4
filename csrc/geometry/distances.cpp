#include "geometry/distances.hpp"

#include "platform/intrinsics.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "platform/aligned.hpp"

namespace tsl {
namespace {

// ||a - b|| where squares leave the range of T: the differences are scaled by the largest first.
template <class T>
T scaled_length(const T* a, const T* b, std::size_t d) {
  if (std::memcmp(a, b, d * sizeof(T)) == 0) return 0;
  T largest = 0;
  for (std::size_t t = 0; t < d; ++t) largest = std::max(largest, std::fabs(a[t] - b[t]));
  if (largest == 0 || std::isinf(largest)) return largest;
  T sum = 0;
  for (std::size_t t = 0; t < d; ++t) {
    const T ratio = (a[t] - b[t]) / largest;
    sum += ratio * ratio;
  }
  return largest * std::sqrt(sum);
}

// The root of a sum of squares, computed anew where that sum came near underflow or overflowed.
template <class T>
inline T length_of(T square, const T* a, const T* b, std::size_t d) {
  constexpr T kSmallest = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
  if (square >= kSmallest && square <= std::numeric_limits<T>::max()) return std::sqrt(square);
  // A NaN among the coordinates, or no distance at all.
  if (std::isnan(square) || a == b) return square;
  return scaled_length(a, b, d);
}

}  // namespace
}  // namespace tsl

#define TSL_KERNELS "geometry/distances.inl"
#include "platform/foreach_isa.inl"

namespace tsl {

template <class T>
void pairwise_distances(const T* x, std::size_t n, std::size_t d, T* D, Isa isa) {
  TSL_DISPATCH(isa, fill_distances, x, n, d, D);
}

template <class T>
void scatter_differences(const T* x, const T* weights, std::size_t n, std::size_t d, T* grad_x,
                         Isa isa) {
  TSL_DISPATCH(isa, fill_differences, x, weights, n, d, grad_x);
}

template <class T>
void edge_lengths(const T* x, const std::int64_t* edges, std::size_t count, std::size_t d,
                  T* lengths, Isa isa) {
  TSL_DISPATCH(isa, fill_edge_lengths, x, edges, count, d, lengths);
}

#define TSL_INSTANTIATE(T)                                                                  \
  template void pairwise_distances(const T*, std::size_t, std::size_t, T*, Isa);            \
  template void scatter_differences(const T*, const T*, std::size_t, std::size_t, T*, Isa); \
  template void edge_lengths(const T*, const std::int64_t*, std::size_t, std::size_t, T*, Isa);
TSL_INSTANTIATE(float)
TSL_INSTANTIATE(double)

}  // namespace tsl
