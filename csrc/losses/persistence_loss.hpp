// TSLoss from the exact diagrams of one cloud, with its gradient in the same pass.
#pragma once

#include <cstddef>
#include <vector>

#include "geometry/edge_scatter.hpp"
#include "losses/losses.hpp"
#include "platform/isa.hpp"
#include "rips/bar.hpp"
#include "rips/h1.hpp"

namespace tsl::losses {

struct PersistenceOptions {
  LossWeights weights;
  double h1_power = 2;
};

// L_H0 = variance of the finite H0 lifetimes; L_H1 = (1/n) sum of H1 lifetimes to the power.
template <class T>
class PersistenceLoss {
 public:
  // The terms of x [n, d]; writes the gradient of the weighted sum where grad_x is given.
  LossTerms compute(const PersistenceOptions& options, const T* x, std::size_t n, std::size_t d,
                    Isa isa, T* grad_x);

 private:
  double length_of(rips::Edge e) const;
  double h0_term();
  double h1_term(double h1_power) const;
  void add_gradients(const PersistenceOptions& options);
  void add_edge(rips::Edge e, double gradient);
  void write_steep(const T* x, std::size_t d, T* grad_x) const;

  // An edge with the loss's gradient by its length.
  struct SteepEdge {
    rips::Edge edge;
    double gradient;
  };

  rips::H1<T> h1_;
  geometry::EdgeScatter<T> scatter_;
  std::size_t n_ = 0;
  std::vector<T> D_;
  rips::Barcode h0_barcode_;
  rips::Barcode h1_barcode_;
  double scale_ = 1;
  double mean_lifetime_ = 0;
  // Those whose weight T cannot hold: beside a long length another is next to nothing.
  std::vector<SteepEdge> steep_;
};

}  // namespace tsl::losses
