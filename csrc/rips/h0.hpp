// H0 of a Rips filtration: the minimum spanning tree in filtration order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "platform/isa.hpp"
#include "rips/bar.hpp"
#include "rips/filtration.hpp"
#include "rips/union_find.hpp"

namespace tsl::rips {

// Whole numbers as wide as T, so that vectors of both have as many lanes.
template <class T>
using Number = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

template <class T>
class H0 {
 public:
  // D is a symmetric [n, n] matrix, where edges that are infinite or longer than `limit` are
  // absent; writes the bars in filtration order.
  void compute(const T* D, std::size_t n, Isa isa, Barcode& h0,
               T limit = std::numeric_limits<T>::infinity());

 private:
  void grow_tree(const T* D, std::size_t n, Isa isa);

  std::vector<FiltrationEdge<T>> tree_;
  // Of each vertex its distance to the tree, and the nearest vertex in it.
  std::vector<T> length_;
  std::vector<Number<T>> nearest_;
  UnionFind components_;
};

}  // namespace tsl::rips
