// The gradient of a sum over edges: weight * (x_i - x_j) at row i, and its negative at row j.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "platform/isa.hpp"

namespace tsl::geometry {

// Edges are added first; then each row of the gradient is summed at once, over the edges that meet
// it in the order in which they were added.
template <class T>
class EdgeScatter {
 public:
  void clear() { edges_.clear(); }
  bool empty() const { return edges_.empty(); }

  void add(std::uint32_t i, std::uint32_t j, T weight) { edges_.push_back({i, j, weight}); }

  // Writes grad_x [n, d] for the cloud x [n, d].
  void write(const T* x, std::size_t n, std::size_t d, T* grad_x, Isa isa);

 private:
  struct WeightedEdge {
    std::uint32_t i, j;
    T weight;
  };

  std::vector<WeightedEdge> edges_;
  // The neighbours of v stand from starts_[v] to starts_[v + 1] in neighbours_, and in weights_ the
  // weights of their edges.
  std::vector<std::uint32_t> starts_;
  std::vector<std::uint32_t> neighbours_;
  std::vector<T> weights_;
};

}  // namespace tsl::geometry
