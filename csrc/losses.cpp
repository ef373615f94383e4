#include "losses.hpp"

#include <cmath>

#include "distances.hpp"
#include "exponential.hpp"

namespace tsl {
namespace {

// 1 / mean of all n * n distances, or 1 where all points coincide.
template <class T>
double inverse_mean(const T* D, std::size_t n) {
  double sum = 0;
  for (std::size_t k = 0; k < n * n; ++k) sum += static_cast<double>(D[k]);
  return sum > 0 ? static_cast<double>(n * n) / sum : 1;
}

template <class T>
double length_of(const T* D, std::size_t n, Edge e) {
  return static_cast<double>(D[first(e) * n + second(e)]);
}

}  // namespace

template <class T>
double PersistenceLoss<T>::h0_term(const T* D, std::size_t n, double scale) {
  const auto count = static_cast<double>(n - 1);
  double sum = 0;
  for (const H0Bar& bar : h0_bars_) sum += scale * length_of(D, n, bar.death);
  mean_lifetime_ = sum / count;
  double squares = 0;
  for (const H0Bar& bar : h0_bars_) {
    const double off = scale * length_of(D, n, bar.death) - mean_lifetime_;
    squares += off * off;
  }
  return squares / count;
}

template <class T>
double PersistenceLoss<T>::h1_term(const T* D, std::size_t n, double scale) const {
  double sum = 0;
  for (const H1Bar& bar : h1_bars_) {
    const double birth = length_of(D, n, bar.birth);
    const double death = length_of(D, n, bar.death);
    sum += std::pow(scale * (death - birth), h1_power_);
  }
  return sum / static_cast<double>(n);
}

// Adds slope * d length / d x; the gradient of a zero length is taken as zero.
template <class T>
void PersistenceLoss<T>::add_edge(const T* x, const T* D, std::size_t n, std::size_t d, Edge e,
                                  double slope, T* grad_x) const {
  const double length = length_of(D, n, e);
  if (length > 0)
    scatter_edge(x, first(e), second(e), static_cast<T>(slope / length), d, grad_x, isa_);
}

template <class T>
LossTerms PersistenceLoss<T>::compute(const T* x, const T* D, std::size_t n, std::size_t d,
                                      T* grad_x) {
  if (grad_x) std::fill(grad_x, grad_x + n * d, T{0});
  if (n < 2) return {};
  const double scale = weights_.scale_by_mean ? inverse_mean(D, n) : 1;
  h1_bars_.clear();
  if (max_dim_ == 0)
    h0_.compute(D, n, h0_bars_);
  else
    h1_.compute(D, n, h0_bars_, h1_bars_);
  const LossTerms terms{h0_term(D, n, scale), h1_term(D, n, scale)};
  if (!grad_x) return terms;

  const double h0_slope = weights_.h0 * scale * 2 / static_cast<double>(n - 1);
  for (const H0Bar& bar : h0_bars_) {
    const double lifetime = scale * length_of(D, n, bar.death);
    add_edge(x, D, n, d, bar.death, h0_slope * (lifetime - mean_lifetime_), grad_x);
  }
  const double h1_slope = weights_.h1 * scale * h1_power_ / static_cast<double>(n);
  for (const H1Bar& bar : h1_bars_) {
    const double birth = length_of(D, n, bar.birth);
    const double death = length_of(D, n, bar.death);
    const double slope = h1_slope * std::pow(scale * (death - birth), h1_power_ - 1);
    add_edge(x, D, n, d, bar.death, slope, grad_x);
    add_edge(x, D, n, d, bar.birth, -slope, grad_x);
  }
  return terms;
}

// s_i = -tau log sum_j exp(-D_ij / tau), shifted by the row's minimum against underflow.
template <class T>
double SurrogateLoss<T>::h0_term(std::size_t n) {
  soft_minima_.resize(n);
  neighbours_.resize(n * n);
  const T rate = static_cast<T>(1 / options_.tau);
  for (std::size_t i = 0; i < n; ++i) {
    const T* row = distances_.data() + i * n;
    T* soft = neighbours_.data() + i * n;
    T nearest = std::numeric_limits<T>::infinity();
    for (std::size_t j = 0; j < n; ++j)
      if (!is_left_out(i, j)) nearest = std::min(nearest, row[j]);
    for (std::size_t j = 0; j < n; ++j) soft[j] = std::min(T{0}, (nearest - row[j]) * rate);
    exp_in_place(soft, n, isa_);
    if (!options_.self_pairs) soft[i] = 0;
    T sum = 0;
    for (std::size_t j = 0; j < n; ++j) sum += soft[j];
    for (std::size_t j = 0; j < n; ++j) soft[j] /= sum;
    soft_minima_[i] = nearest - options_.tau * std::log(static_cast<double>(sum));
  }
  double mean = 0;
  for (const double s : soft_minima_) mean += s / static_cast<double>(n);
  double squares = 0;
  for (double& s : soft_minima_) {
    s -= mean;
    squares += s * s;
  }
  return squares / static_cast<double>(n);
}

// Replaces weights by the softmax over all pairs of sign * alpha * D and returns their mean of D.
template <class T>
double SurrogateLoss<T>::weighted_scale(std::vector<T>& weights, std::size_t n, double sign) {
  weights.resize(n * n);
  T nearest = std::numeric_limits<T>::infinity();
  T farthest = 0;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      if (!is_left_out(i, j)) {
        nearest = std::min(nearest, distances_[i * n + j]);
        farthest = std::max(farthest, distances_[i * n + j]);
      }
  const T origin = sign < 0 ? nearest : farthest;
  const T rate = static_cast<T>(sign * options_.alpha);
  for (std::size_t k = 0; k < n * n; ++k)
    weights[k] = std::min(T{0}, (distances_[k] - origin) * rate);
  exp_in_place(weights.data(), n * n, isa_);
  if (!options_.self_pairs)
    for (std::size_t i = 0; i < n; ++i) weights[i * n + i] = 0;
  double sum = 0;
  double weighted = 0;
  for (std::size_t k = 0; k < n * n; ++k) {
    sum += weights[k];
    weighted += static_cast<double>(weights[k]) * static_cast<double>(distances_[k] - origin);
  }
  const T inverse = static_cast<T>(1 / sum);
  for (T& weight : weights) weight *= inverse;
  return static_cast<double>(origin) + weighted / sum;
}

// Leaves dL_H1 / dD, gradients through delta and zeta included unless detached, in slopes_.
template <class T>
double SurrogateLoss<T>::h1_term(std::size_t n) {
  const double delta = weighted_scale(low_, n, -1);
  const double zeta = weighted_scale(high_, n, +1);
  const double pairs = static_cast<double>(n) * static_cast<double>(n);
  slopes_.assign(n * n, 0);
  double loss = 0;
  double too_near = 0;
  double too_far = 0;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      if (is_left_out(i, j)) continue;
      const double D = distances_[i * n + j];
      const double near = std::max(0.0, delta - D);
      const double far = std::max(0.0, D - zeta);
      loss += options_.lambda_repel * near * near + options_.lambda_attract * far * far;
      too_near += near;
      too_far += far;
      slopes_[i * n + j] = static_cast<T>(
          2 / pairs * (options_.lambda_attract * far - options_.lambda_repel * near));
    }
  if (!options_.detach_scales) {
    const double by_delta = 2 / pairs * options_.lambda_repel * too_near;
    const double by_zeta = -2 / pairs * options_.lambda_attract * too_far;
    for (std::size_t k = 0; k < n * n; ++k) {
      const double D = distances_[k];
      slopes_[k] += static_cast<T>(by_delta * low_[k] * (1 - options_.alpha * (D - delta)) +
                                   by_zeta * high_[k] * (1 + options_.alpha * (D - zeta)));
    }
  }
  return loss / pairs;
}

template <class T>
LossTerms SurrogateLoss<T>::compute(const T* x, const T* D, std::size_t n, std::size_t d,
                                    T* grad_x) {
  if (grad_x) std::fill(grad_x, grad_x + n * d, T{0});
  if (n < 2) return {};
  const double scale = weights_.scale_by_mean ? inverse_mean(D, n) : 1;
  distances_.resize(n * n);
  for (std::size_t k = 0; k < n * n; ++k) distances_[k] = static_cast<T>(scale) * D[k];
  const LossTerms terms{h0_term(n), h1_term(n)};
  if (!grad_x) return terms;

  // neighbours_ becomes the weight of every difference x_i - x_j, symmetric, 0 where D_ij = 0.
  const double by_minimum = weights_.h0 * 2 / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      slopes_[i * n + j] = static_cast<T>(weights_.h1 * slopes_[i * n + j] +
                                          by_minimum * soft_minima_[i] * neighbours_[i * n + j]);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      const T length = D[i * n + j];
      const T slope = slopes_[i * n + j] + slopes_[j * n + i];
      neighbours_[i * n + j] = length > 0 ? static_cast<T>(scale) * slope / length : T{0};
    }
  scatter_differences(x, neighbours_.data(), n, d, grad_x, isa_);
  return terms;
}

template class PersistenceLoss<float>;
template class PersistenceLoss<double>;
template class SurrogateLoss<float>;
template class SurrogateLoss<double>;

}  // namespace tsl
