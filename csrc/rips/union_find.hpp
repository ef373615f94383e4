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

  // Writes (v, v) for the representative v of each of the components of n vertices, in order.
  void list_roots(std::size_t n, std::vector<Edge>& roots) {
    roots.clear();
    for (Vertex v = 0; v < n; ++v)
      if (parent_[v] == v) roots.push_back(make_edge(v, v));
  }

 private:
  std::vector<Vertex> parent_;
};

}  // namespace tsl::rips
