// Passes over the rows of D. Included by surrogate_loss.cpp once per instruction set.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "geometry/exponential.inl"
#include "geometry/lanes.inl"
#include "losses/losses.hpp"
#include "losses/surrogate_loss.hpp"

namespace tsl::TSL_TARGET::surrogate {

using namespace lanes;
using namespace losses;

// Sums over all pairs of weights, and of weights times the distance from `origin`.
struct ScaleSums {
  double origin = 0;
  double weights = 0;
  double moments = 0;

  double scale() const { return origin + moments / weights; }
};

template <class T>
class Surrogate {
 public:
  // Where distances are divided by their mean, D [n, n] is overwritten.
  Surrogate(std::size_t n, const SurrogateOptions& options, T* D, SurrogateMemory<T>& memory)
      : n_(n), options_(options), D_(D), memory_(memory) {
    const std::size_t padded = (n + L - 1) / L * L;
    for (auto* row : {&memory.nearest, &memory.row_sums, &memory.row_gradients, &memory.counts})
      row->assign(padded, T{0});
    std::fill_n(memory.counts.data(), n, T{1});
    memory.hidden.assign(padded, std::numeric_limits<T>::infinity());
    std::fill_n(memory.hidden.data(), n, T{0});
  }

  SurrogateResult compute() {
    if (options_.weights.scale_by_mean) divide_by_mean();
    find_extremes();
    sum_exponentials();
    delta_ = low_.scale();
    zeta_ = high_.scale();
    return {{h0_term(), h1_term()}, scale_};
  }

  // After compute(): the gradient is scale * sum_j weights_ij (x_i - x_j).
  void find_weights(T* weights);

 private:
  static constexpr std::size_t L = Vector<T>::kLanes;

  // Calls act(j, width) for the vectors of row i, while pairs that do not count are marked.
  template <class Act>
  void for_row(std::size_t i, Act act) {
    const bool counts = options_.self_pairs;
    memory_.counts[i] = counts ? T{1} : T{0};
    memory_.hidden[i] = counts ? T{0} : std::numeric_limits<T>::infinity();
    for (std::size_t j = 0; j < n_; j += L) act(j, std::min(L, n_ - j));
    memory_.counts[i] = T{1};
    memory_.hidden[i] = T{0};
  }

  // Distances of a row, 0 behind its end. In visible() pairs that do not count are infinitely far.
  Vector<T> distances(std::size_t i, std::size_t j, std::size_t width) const {
    return load_part(D_ + i * n_ + j, width);
  }
  Vector<T> visible(const Vector<T>& D, std::size_t j) const {
    return D + load(memory_.hidden.data() + j);
  }
  Vector<T> counts(std::size_t j) const { return load(memory_.counts.data() + j); }

  // exp(rate * difference). A difference is positive by rounding alone, and then counts as 0.
  static Vector<T> falling(T rate, const Vector<T>& difference) {
    return exp_lanes(least(Vector<T>{}, rate * difference));
  }

  void divide_by_mean() {
    scale_ = inverse_mean(D_, n_);
    for (std::size_t k = 0; k < n_ * n_; ++k) D_[k] *= static_cast<T>(scale_);
  }

  void find_extremes() {
    shortest_ = std::numeric_limits<T>::infinity();
    for (std::size_t i = 0; i < n_; ++i) {
      Vector<T> near = every(std::numeric_limits<T>::infinity());
      Vector<T> far = {};
      for_row(i, [&](std::size_t j, std::size_t width) {
        const Vector<T> D = distances(i, j, width);
        near = least(near, visible(D, j));
        far = most(far, D);
      });
      T lanes[2 * L];
      store(lanes, near);
      store(lanes + L, far);
      memory_.nearest[i] = *std::min_element(lanes, lanes + L);
      shortest_ = std::min(shortest_, memory_.nearest[i]);
      farthest_ = std::max(farthest_, *std::max_element(lanes + L, lanes + 2 * L));
    }
  }

  Vector<T> low(const Vector<T>& D, std::size_t j) const {
    return falling(alpha(), every(shortest_) - visible(D, j));
  }
  Vector<T> high(const Vector<T>& D, std::size_t j) const {
    return counts(j) * falling(alpha(), D - every(farthest_));
  }
  Vector<T> soft(T nearest, const Vector<T>& D, std::size_t j) const {
    return falling(rate(), every(nearest) - visible(D, j));
  }
  T alpha() const { return static_cast<T>(options_.alpha); }
  T rate() const { return static_cast<T>(1 / options_.tau); }

  // The sums in the soft minima of the rows, and in delta and zeta.
  void sum_exponentials() {
    low_ = {static_cast<double>(shortest_)};
    high_ = {static_cast<double>(farthest_)};
    for (std::size_t i = 0; i < n_; ++i) {
      Vector<T> row = {}, lows = {}, low_moments = {}, highs = {}, high_moments = {};
      for_row(i, [&](std::size_t j, std::size_t width) {
        const Vector<T> D = distances(i, j, width);
        row = row + soft(memory_.nearest[i], D, j);
        const Vector<T> by_low = low(D, j);
        lows = lows + by_low;
        add_product(low_moments, by_low, D - every(shortest_));
        const Vector<T> by_high = high(D, j);
        highs = highs + by_high;
        add_product(high_moments, by_high, D - every(farthest_));
      });
      memory_.row_sums[i] = sum_lanes<T>(row);
      low_.weights += static_cast<double>(sum_lanes<T>(lows));
      low_.moments += static_cast<double>(sum_lanes<T>(low_moments));
      high_.weights += static_cast<double>(sum_lanes<T>(highs));
      high_.moments += static_cast<double>(sum_lanes<T>(high_moments));
    }
  }

  // The variance of s_i = -tau log sum_j exp(-D_ij / tau). The row's minimum is taken out of the
  // logarithm, because the exponentials would underflow.
  double h0_term() {
    const auto count = static_cast<double>(n_);
    soft_minimum_mean_ = 0;
    for (std::size_t i = 0; i < n_; ++i) soft_minimum_mean_ += soft_minimum(i) / count;
    double squares = 0;
    for (std::size_t i = 0; i < n_; ++i) {
      const double off = soft_minimum(i) - soft_minimum_mean_;
      squares += off * off;
    }
    return squares / count;
  }

  double soft_minimum(std::size_t i) const {
    return static_cast<double>(memory_.nearest[i]) -
           options_.tau * std::log(static_cast<double>(memory_.row_sums[i]));
  }

  // D - scale. The scale rounded to T may be off by more than the difference, so what rounding took
  // from it is subtracted as well.
  static Vector<T> beyond(const Vector<T>& D, double scale) {
    const T rounded = static_cast<T>(scale);
    return (D - every(rounded)) - every(static_cast<T>(scale - static_cast<double>(rounded)));
  }

  // How far a pair is nearer than delta, and how far beyond zeta.
  Vector<T> near(const Vector<T>& D, std::size_t j) const {
    return counts(j) * most(Vector<T>{}, Vector<T>{} - beyond(D, delta_));
  }
  Vector<T> far(const Vector<T>& D, std::size_t j) const {
    return counts(j) * most(Vector<T>{}, beyond(D, zeta_));
  }

  double h1_term() {
    double near_squares = 0, far_squares = 0;
    for (std::size_t i = 0; i < n_; ++i) {
      Vector<T> nears = {}, fars = {}, nears_squared = {}, fars_squared = {};
      for_row(i, [&](std::size_t j, std::size_t width) {
        const Vector<T> D = distances(i, j, width);
        const Vector<T> by_near = near(D, j);
        const Vector<T> by_far = far(D, j);
        nears = nears + by_near;
        fars = fars + by_far;
        add_product(nears_squared, by_near, by_near);
        add_product(fars_squared, by_far, by_far);
      });
      too_near_ += static_cast<double>(sum_lanes<T>(nears));
      too_far_ += static_cast<double>(sum_lanes<T>(fars));
      near_squares += static_cast<double>(sum_lanes<T>(nears_squared));
      far_squares += static_cast<double>(sum_lanes<T>(fars_squared));
    }
    return (options_.lambda_repel * near_squares + options_.lambda_attract * far_squares) / pairs();
  }

  double pairs() const { return static_cast<double>(n_) * static_cast<double>(n_); }

  std::size_t n_;
  const SurrogateOptions& options_;
  T* D_;
  SurrogateMemory<T>& memory_;
  double scale_ = 1;
  T shortest_ = 0;
  T farthest_ = 0;
  ScaleSums low_, high_;
  double delta_ = 0;
  double zeta_ = 0;
  double soft_minimum_mean_ = 0;
  double too_near_ = 0;
  double too_far_ = 0;
};

template <class T>
void Surrogate<T>::find_weights(T* weights) {
  const double by_minimum = options_.weights.h0 * 2 / static_cast<double>(n_);
  for (std::size_t i = 0; i < n_; ++i)
    memory_.row_gradients[i] = static_cast<T>(by_minimum * (soft_minimum(i) - soft_minimum_mean_) /
                                              static_cast<double>(memory_.row_sums[i]));
  // The second 2 is there because each distance stands twice in D.
  const double by_pair = 2 * options_.weights.h1 * 2 / pairs();
  const double through = options_.detach_scales ? 0 : by_pair;
  const auto by_near = static_cast<T>(by_pair * options_.lambda_repel);
  const auto by_far = static_cast<T>(by_pair * options_.lambda_attract);
  const auto by_delta = static_cast<T>(through * options_.lambda_repel * too_near_ / low_.weights);
  const auto by_zeta = static_cast<T>(through * options_.lambda_attract * too_far_ / high_.weights);
  // The gradient takes the square of what lengths were multiplied by. One factor is left for the
  // end: weights with both would leave the range of T for clouds that are tiny or huge.
  const auto by_length = static_cast<T>(scale_);
  constexpr T largest = std::numeric_limits<T>::max();
  for (std::size_t i = 0; i < n_; ++i)
    for_row(i, [&](std::size_t j, std::size_t width) {
      const Vector<T> D = distances(i, j, width);
      Vector<T> gradient = by_far * far(D, j) - by_near * near(D, j);
      // delta = sum w D, where w is the softmax of -alpha D, so
      // d delta / d D = w (1 - alpha (D - delta)).
      add_product(gradient, by_delta * low(D, j), every(T{1}) - alpha() * beyond(D, delta_));
      add_product(gradient, -by_zeta * high(D, j), every(T{1}) + alpha() * beyond(D, zeta_));
      add_product(gradient, memory_.row_gradients[i], soft(memory_.nearest[i], D, j));
      const Vector<T> theirs = exp_lanes(
          least(Vector<T>{}, rate() * (load(memory_.nearest.data() + j) - visible(D, j))));
      add_product(gradient, load(memory_.row_gradients.data() + j), theirs);
      // Where a pair is next to nothing beside the others, T may not hold its weight, and infinity
      // times a difference of 0 is no number.
      const Vector<T> weight = divided_or_zero(by_length * gradient, D);
      store_part(weights + i * n_ + j, least(most(weight, every(-largest)), every(largest)), width);
    });
}

// Writes the weights of the differences x_i - x_j where `weights` [n, n] is given.
template <class T>
void run_surrogate(std::size_t n, const SurrogateOptions& options, T* D, T* weights,
                   SurrogateMemory<T>& memory, SurrogateResult& result) {
  Surrogate<T> surrogate(n, options, D, memory);
  result = surrogate.compute();
  if (weights) surrogate.find_weights(weights);
}

}  // namespace tsl::TSL_TARGET::surrogate
