#include "losses/persistence_loss.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "geometry/distances.hpp"
#include "geometry/finite.hpp"

namespace tsl::losses {

template <class T>
double PersistenceLoss<T>::length_of(rips::Edge e) const {
  return static_cast<double>(D_[rips::first(e) * n_ + rips::second(e)]);
}

// The sum of term(bar, factor) over the bars with factor 1, divided by count. Where that overflows,
// though the quotient may not, the sum with the factor that makes each term 1 / count of itself.
template <class Bars, class Term>
double mean_of(const Bars& bars, double count, double power, Term term) {
  const auto sum = [&](double factor) {
    double total = 0;
    for (const rips::Bar& bar : bars) total += term(bar, factor);
    return total;
  };
  const double total = sum(1);
  return std::isfinite(total) ? total / count : sum(std::pow(count, -1 / power));
}

template <class T>
double PersistenceLoss<T>::h0_term() {
  const auto count = static_cast<double>(n_ - 1);
  const auto lifetime = [&](const rips::Bar& bar) { return scale_ * length_of(bar.death); };
  const auto& bars = h0_barcode_.bars;
  mean_lifetime_ = mean_of(
      bars, count, 1, [&](const rips::Bar& bar, double factor) { return factor * lifetime(bar); });
  return mean_of(bars, count, 2, [&](const rips::Bar& bar, double factor) {
    const double off = factor * (lifetime(bar) - mean_lifetime_);
    return off * off;
  });
}

template <class T>
double PersistenceLoss<T>::h1_term(double h1_power) const {
  return mean_of(h1_barcode_.bars, static_cast<double>(n_), h1_power,
                 [&](const rips::Bar& bar, double factor) {
                   const double lifetime = length_of(bar.death) - length_of(bar.birth);
                   return std::pow(factor * (scale_ * lifetime), h1_power);
                 });
}

// Adds gradient * d length / d x, where `gradient` is the loss's by this length; that of a length
// of zero counts as zero. The factor of the scale is left for the end: with it, weights would leave
// the range of T for clouds that are tiny or huge.
template <class T>
void PersistenceLoss<T>::add_edge(rips::Edge e, double gradient) {
  const double length = length_of(e);
  if (!(length > 0)) return;
  const double weight = gradient / length;
  if (std::fabs(weight) <= static_cast<double>(std::numeric_limits<T>::max()))
    scatter_.add(rips::first(e), rips::second(e), static_cast<T>(weight));
  else
    steep_.push_back({e, gradient});
}

// Adds the gradients of the steep edges, whose directions are divided by their lengths first.
template <class T>
void PersistenceLoss<T>::write_steep(const T* x, std::size_t d, T* grad_x) const {
  for (const SteepEdge& steep : steep_) {
    const double length = length_of(steep.edge);
    const std::size_t i = rips::first(steep.edge) * d;
    const std::size_t j = rips::second(steep.edge) * d;
    for (std::size_t t = 0; t < d; ++t) {
      const double difference = static_cast<double>(x[i + t]) - static_cast<double>(x[j + t]);
      const auto step = static_cast<T>(steep.gradient * (difference / length));
      grad_x[i + t] += step;
      grad_x[j + t] -= step;
    }
  }
}

template <class T>
void PersistenceLoss<T>::add_gradients(const PersistenceOptions& options) {
  const double h0_gradient = options.weights.h0 * 2 / static_cast<double>(n_ - 1);
  for (const rips::Bar& bar : h0_barcode_.bars)
    add_edge(bar.death, h0_gradient * (scale_ * length_of(bar.death) - mean_lifetime_));
  const double h1_gradient = options.weights.h1 * options.h1_power / static_cast<double>(n_);
  for (const rips::Bar& bar : h1_barcode_.bars) {
    const double lifetime = scale_ * (length_of(bar.death) - length_of(bar.birth));
    const double gradient = h1_gradient * std::pow(lifetime, options.h1_power - 1);
    add_edge(bar.death, gradient);
    add_edge(bar.birth, -gradient);
  }
}

template <class T>
LossTerms PersistenceLoss<T>::compute(const PersistenceOptions& options, const T* x, std::size_t n,
                                      std::size_t d, Isa isa, T* grad_x) {
  n_ = n;
  D_.resize(n * n);
  geometry::pairwise_distances(x, n, d, D_.data(), isa);
  if (!geometry::all_finite(D_.data(), n * n)) return no_terms(n * d, grad_x);
  if (n < 2) {
    if (grad_x) std::fill_n(grad_x, n * d, T{0});
    return {};
  }
  scale_ = options.weights.scale_by_mean ? inverse_mean(D_.data(), n) : 1;
  h1_.compute(D_.data(), n, isa, h0_barcode_, h1_barcode_);
  const LossTerms terms{h0_term(), h1_term(options.h1_power)};
  if (grad_x) {
    scatter_.clear();
    steep_.clear();
    add_gradients(options);
    scatter_.write(x, n, d, grad_x, isa);
    write_steep(x, d, grad_x);
    multiply_by(scale_, n * d, grad_x);
  }
  return terms;
}

template class PersistenceLoss<float>;
template class PersistenceLoss<double>;

}  // namespace tsl::losses
