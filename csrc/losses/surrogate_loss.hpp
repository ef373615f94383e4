// TSLoss by equations 1 to 6 of arXiv 2602.16500v1 for one cloud, with its gradient.
#pragma once

#include <vector>

#include "geometry/difference_sums.hpp"
#include "losses/losses.hpp"
#include "platform/aligned.hpp"
#include "platform/isa.hpp"

namespace tsl::losses {

struct SurrogateOptions {
  LossWeights weights;
  double tau = 1;
  double alpha = 10;
  double lambda_repel = 1;
  double lambda_attract = 1;
  bool self_pairs = false;
  bool detach_scales = false;
};

// What the formulas give for one cloud.
struct SurrogateResult {
  LossTerms terms;
  // What the distances were multiplied by.
  double scale = 1;
};

// What the passes over the distances write to, kept from cloud to cloud. Padded to whole vectors.
template <class T>
struct SurrogateMemory {
  // For each point: the distance to the nearest other one, the sum of exp((nearest - D) / tau) over
  // its row, and the gradient of the loss by its soft minimum, divided by that sum.
  AlignedVector<T> nearest;
  AlignedVector<T> row_sums;
  AlignedVector<T> row_gradients;
  // For each pair of the row at hand: 1 if it counts, else 0; and 0 if it counts, else infinity.
  AlignedVector<T> counts;
  AlignedVector<T> hidden;
};

template <class T>
class SurrogateLoss {
 public:
  // The terms of x [n, d]; writes the gradient of the weighted sum where grad_x is given.
  LossTerms compute(const SurrogateOptions& options, const T* x, std::size_t n, std::size_t d,
                    Isa isa, T* grad_x);

 private:
  std::vector<T> D_;        // [n, n]
  std::vector<T> weights_;  // [n, n]
  SurrogateMemory<T> memory_;
  geometry::DifferenceSums<T> sums_;
};

}  // namespace tsl::losses
