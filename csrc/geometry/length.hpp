// The length of a difference from the sum of its squares, right over the whole range of T.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

namespace tsl::geometry {

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

}  // namespace tsl::geometry
