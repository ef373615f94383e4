// Disjoint sets whose representative is their smallest vertex, as the elder rule asks.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "rips/filtration.hpp"

namespace tsl::rips {

class UnionFind {
 public:
  void reset(std::size_t n) {
    parent_.resize(n);
    std::iota(parent_.begin(), parent_.end(), Vertex{0});
  }

  Vertex find(Vertex v) {
    while (parent_[v] != v) {
      parent_[v] = parent_[parent_[v]];
      v = parent_[v];
    }
    return v;
  }

  // Joins the components of i and j, and stores in `died` the representative that dies.
  // Returns false when both were one component already.
  bool unite(Vertex i, Vertex j, Vertex& died) {
    const Vertex a = find(i);
    const Vertex b = find(j);
    if (a == b) return false;
    died = std::max(a, b);
    parent_[died] = std::min(a, b);
    return true;
  }

 private:
  std::vector<Vertex> parent_;
};

}  // namespace tsl::rips
