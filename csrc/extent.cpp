#include "extent.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#define TSL_KERNELS "extent.inl"
#include "foreach_isa.inl"

namespace tsl {

template <class T>
void Extent<T>::measure(const T* D, std::size_t n, Isa isa) {
  shortest_ = std::numeric_limits<T>::infinity();
  radius_ = std::numeric_limits<T>::infinity();
  sums_.resize(n);
  TSL_DISPATCH(isa, measure_rows, D, n, shortest_, radius_, sums_.data());
  std::sort(sums_.begin(), sums_.end());
  from_centre_.resize(n);
  for (std::size_t rank = 0; rank < n; ++rank) from_centre_[rank] = sums_[rank].second;
}

template class Extent<float>;
template class Extent<double>;

}  // namespace tsl
