// TSLoss of one cloud: both formulations, each with its gradient in the same pass.
#pragma once

#include <vector>

#include "h0.hpp"
#include "h1.hpp"
#include "isa.hpp"

namespace tsl {

// L_H0 and L_H1, before any weight.
struct LossTerms {
  double h0 = 0;
  double h1 = 0;
};

// What both formulations share: the weights of the two terms in the gradient, and whether distances
// are divided by their mean first.
struct LossWeights {
  double h0 = 1;
  double h1 = 1;
  bool scale_by_mean = false;
};

// L_H0 = variance of the finite H0 lifetimes; L_H1 = (1/n) sum of H1 lifetimes to the power.
template <class T>
class PersistenceLoss {
 public:
  PersistenceLoss(LossWeights weights, double h1_power, int max_dim, Isa isa)
      : weights_(weights), h1_power_(h1_power), max_dim_(max_dim), isa_(isa), h1_(isa) {}

  // D are the distances of x [n, d]; writes the gradient of the weighted sum where grad_x is given.
  LossTerms compute(const T* x, const T* D, std::size_t n, std::size_t d, T* grad_x);

 private:
  double h0_term(const T* D, std::size_t n, double scale);
  double h1_term(const T* D, std::size_t n, double scale) const;
  void add_edge(const T* x, const T* D, std::size_t n, std::size_t d, Edge e, double slope,
                T* grad_x) const;

  LossWeights weights_;
  double h1_power_;
  int max_dim_;
  Isa isa_;
  H0<T> h0_;
  H1<T> h1_;
  std::vector<H0Bar> h0_bars_;
  std::vector<H1Bar> h1_bars_;
  double mean_lifetime_ = 0;
};

struct SurrogateOptions {
  double tau = 1;
  double alpha = 10;
  double lambda_repel = 1;
  double lambda_attract = 1;
  bool self_pairs = false;
  bool detach_scales = false;
};

// Equations 1 to 6 of arXiv 2602.16500v1.
template <class T>
class SurrogateLoss {
 public:
  SurrogateLoss(LossWeights weights, SurrogateOptions options, Isa isa)
      : weights_(weights), options_(options), isa_(isa) {}

  LossTerms compute(const T* x, const T* D, std::size_t n, std::size_t d, T* grad_x);

 private:
  double h0_term(std::size_t n);
  double h1_term(std::size_t n);
  double weighted_scale(std::vector<T>& weights, std::size_t n, double sign);
  bool is_left_out(std::size_t i, std::size_t j) const { return i == j && !options_.self_pairs; }

  LossWeights weights_;
  SurrogateOptions options_;
  Isa isa_;
  // All [n, n]: scaled distances, their row softmax, the pair softmaxes, and the loss's slopes.
  std::vector<T> distances_;
  std::vector<T> neighbours_;
  std::vector<T> low_;
  std::vector<T> high_;
  std::vector<T> slopes_;
  std::vector<double> soft_minima_;
};

}  // namespace tsl
