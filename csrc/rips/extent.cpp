#include "rips/extent.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#define TSL_KERNELS "rips/extent.inl"
#include "platform/foreach_isa.inl"

namespace tsl::rips {

template <class T>
void Extent<T>::measure(const T* D, std::size_t n, Isa isa) {
  shortest_ = std::numeric_limits<T>::infinity();
  radius_ = std::numeric_limits<T>::infinity();
  sums_.resize(n);
  TSL_DISPATCH(isa, extent::measure_rows, D, n, shortest_, radius_, sums_.data());
  from_centre_.resize(n);
  if (n <= kMostRanked) {
    TSL_DISPATCH(isa, extent::order_by_rank, sums_.data(), n, from_centre_.data());
    return;
  }
  std::iota(from_centre_.begin(), from_centre_.end(), Vertex{0});
  std::sort(from_centre_.begin(), from_centre_.end(),
            [this](Vertex a, Vertex b) { return sums_[a] < sums_[b]; });
}

template <class T>
T Extent<T>::longest_needed(const T* D, std::size_t n, T limit) const {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  const T reach = std::min(radius_, limit);
  if (reach != kInfinity) return reach;
  T longest = -1;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = i + 1; j < n; ++j) {
      const T length = D[i * n + j];
      if (length < kInfinity && length > longest) longest = length;
    }
  return longest;
}

template class Extent<float>;
template class Extent<double>;

}  // namespace tsl::rips
