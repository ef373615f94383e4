// H0 of a Rips filtration: the minimum spanning tree in filtration order.
#pragma once

#include <limits>
#include <vector>

#include "rips/bar.hpp"
#include "rips/filtration.hpp"
#include "rips/union_find.hpp"

namespace tsl::rips {

template <class T>
class H0 {
 public:
  // D is a symmetric [n, n] matrix, where edges that are infinite or longer than `limit` are
  // absent; writes the bars in filtration order.
  void compute(const T* D, std::size_t n, Barcode& h0,
               T limit = std::numeric_limits<T>::infinity());

 private:
  void grow_tree(const T* D, std::size_t n);
  std::size_t nearest_outside(std::size_t count, T shortest) const;

  std::vector<FiltrationEdge<T>> tree_;
  // For each vertex that is not in the tree yet: the vertex, its distance to the tree, and the
  // nearest vertex in the tree.
  std::vector<Vertex> outside_;
  std::vector<T> length_;
  std::vector<Vertex> nearest_;
  UnionFind components_;
};

}  // namespace tsl::rips
