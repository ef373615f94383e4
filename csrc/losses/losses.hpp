// What both formulations of TSLoss share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace tsl::losses {

// L_H0 and L_H1, before any weight.
struct LossTerms {
  double h0 = 0;
  double h1 = 0;
};

// The terms of a cloud whose distances are not all finite, and its gradient, where it is asked for:
// not a number, all of them.
template <class T>
LossTerms no_terms(std::size_t count, T* gradient) {
  if (gradient) std::fill_n(gradient, count, std::numeric_limits<T>::quiet_NaN());
  return {std::nan(""), std::nan("")};
}

// The weights of the two terms in the gradient, and whether distances are divided by their mean
// first.
struct LossWeights {
  double h0 = 1;
  double h1 = 1;
  bool scale_by_mean = false;
};

// 1 / mean of all n * n distances, or 1 where all points coincide, or lie so close that T cannot
// hold it.
template <class T>
double inverse_mean(const T* D, std::size_t n) {
  double sum = 0;
  for (std::size_t k = 0; k < n * n; ++k) sum += static_cast<double>(D[k]);
  const double inverse = static_cast<double>(n * n) / sum;
  return inverse <= static_cast<double>(std::numeric_limits<T>::max()) ? inverse : 1;
}

template <class T>
void multiply_by(double factor, std::size_t count, T* numbers) {
  if (factor == 1) return;
  for (std::size_t k = 0; k < count; ++k) numbers[k] *= static_cast<T>(factor);
}

}  // namespace tsl::losses
