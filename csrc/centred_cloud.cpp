#include "centred_cloud.hpp"

#include "intrinsics.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "distances.hpp"

#define TSL_KERNELS "products.inl"
#include "foreach_isa.inl"

namespace tsl {

template <class T>
void CentredCloud<T>::set(const T* x, std::size_t n, std::size_t d, Isa isa) {
  constexpr std::size_t kLine = 64 / sizeof(T);
  isa_ = isa;
  x_ = x;
  n_ = n;
  d_ = d;
  // An odd number of cache lines, for rows a power of two apart share their cache sets.
  stride_ = ((d + kLine - 1) / kLine | 1) * kLine;
  if (centred_.size() < n * stride_) centred_.resize(n * stride_);
  TSL_DISPATCH(isa_, centre_rows, x, n, d, stride_, centred_.data());
}

template <class T>
void CentredCloud<T>::distances(T* D) {
  near_.clear();
  TSL_DISPATCH(isa_, fill_products, centred_.data(), n_, stride_, D);
  // The diagonal holds the squared norms, until all pairs have taken theirs from it.
  constexpr T kSmallest = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
  for (std::size_t i = 0; i < n_; ++i)
    for (std::size_t j = i + 1; j < n_; ++j) {
      const T norms = D[i * n_ + i] + D[j * n_ + j];
      const T square = norms - 2 * D[i * n_ + j];
      // Written so that a NaN among them is not trusted.
      if (square >= kLeastShare * norms && square >= kSmallest && std::isfinite(square)) {
        D[i * n_ + j] = D[j * n_ + i] = std::sqrt(square);
      } else {
        near_.push_back(make_edge(static_cast<Vertex>(i), static_cast<Vertex>(j)));
      }
    }
  for (std::size_t i = 0; i < n_; ++i)
    if (!std::isnan(D[i * n_ + i])) D[i * n_ + i] = 0;
  for (const Edge e : near_) {
    const std::int64_t ends[] = {first(e), second(e)};
    T length;
    edge_lengths(x_, ends, 1, d_, &length, isa_);
    D[first(e) * n_ + second(e)] = D[second(e) * n_ + first(e)] = length;
  }
}

template <class T>
void CentredCloud<T>::sum_differences(T* weights, T* grad_x) {
  near_differences_.clear();
  for (const Edge e : near_) {
    T& weight = weights[first(e) * n_ + second(e)];
    if (weight != 0) near_differences_.add(first(e), second(e), weight);
    weight = weights[second(e) * n_ + first(e)] = 0;
  }
  near_differences_.write(x_, n_, d_, grad_x, isa_);
  // sum_j w_ij (x_i - x_j) is a product with the matrix that has -w_ij off its diagonal and the sum of
  // the row on it.
  for (std::size_t i = 0; i < n_; ++i) {
    T* const row = weights + i * n_;
    double sum = 0;
    for (std::size_t j = 0; j < n_; ++j) {
      sum += static_cast<double>(row[j]);
      row[j] = -row[j];
    }
    row[i] = static_cast<T>(sum);
  }
  TSL_DISPATCH(isa_, multiply, weights, centred_.data(), n_, d_, stride_, grad_x);
}

template class CentredCloud<float>;
template class CentredCloud<double>;

}  // namespace tsl
