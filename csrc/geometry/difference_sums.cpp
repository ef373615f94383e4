#include "geometry/difference_sums.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#define TSL_KERNELS "geometry/difference_sums.inl"
#include "platform/foreach_isa.inl"

namespace tsl::geometry {

// Moves the weights of near pairs to near_; returns whether other pairs are left.
template <class T>
bool DifferenceSums<T>::take_near_pairs(const T* D, T* w, std::size_t n, Isa isa) {
  near_.clear();
  squares_.resize(n);
  TSL_DISPATCH(isa, difference_sums::squares_from_mean, D, n, squares_.data());
  bool has_others = false;
  for (std::size_t i = 0; i < n; ++i) {
    // The least and the largest excess of the row's pairs (i, j), i < j.
    T least = std::numeric_limits<T>::infinity();
    T most = -least;
    TSL_DISPATCH(isa, difference_sums::find_excess, D + i * n, squares_.data(), i, n, kLeastShare,
                 least, most);
    has_others |= most > 0;
    if (least > 0) continue;
    for (std::size_t j = i + 1; j < n; ++j) {
      if (excess(D[i * n + j], squares_[i] + squares_[j], kLeastShare) > 0) continue;
      T& weight = w[i * n + j];
      if (weight != 0)
        near_.add(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j), weight);
      weight = w[j * n + i] = 0;
    }
  }
  return has_others;
}

template <class T>
void DifferenceSums<T>::write(const T* x, const T* D, T* w, std::size_t n, std::size_t d, T* grad_x,
                              Isa isa) {
  const bool has_others = take_near_pairs(D, w, n, isa);
  const bool has_near = !near_.empty();
  if (has_near || !has_others) near_.write(x, n, d, grad_x, isa);
  if (!has_others) return;
  for (std::size_t i = 0; i < n; ++i) {
    T* const row = w + i * n;
    double sum = 0;
    for (std::size_t j = 0; j < n; ++j) {
      sum += static_cast<double>(row[j]);
      row[j] = -row[j];
    }
    row[i] = static_cast<T>(sum);
  }
  TSL_DISPATCH(isa, difference_sums::write_product_with_centred, w, x, n, d, has_near, strip_,
               grad_x);
}

template class DifferenceSums<float>;
template class DifferenceSums<double>;

}  // namespace tsl::geometry
