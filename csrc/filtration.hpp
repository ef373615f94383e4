// The total order of a Vietoris-Rips filtration: edges by (length, i, j) with i < j.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace tsl {

using Vertex = std::uint32_t;

// An edge packs both vertices, so that comparing two edges compares (i, j) lexicographically.
using Edge = std::uint32_t;

constexpr std::size_t kMaxPoints = 65535;

inline Edge make_edge(Vertex i, Vertex j) { return i < j ? (i << 16 | j) : (j << 16 | i); }
inline Vertex first(Edge e) { return e >> 16; }
inline Vertex second(Edge e) { return e & 0xffffu; }

// An edge with its length; operator< is the filtration order, and the only place that states it.
template <class T>
struct FiltrationEdge {
  T length;
  Edge edge;

  friend bool operator<(const FiltrationEdge& a, const FiltrationEdge& b) {
    return a.length < b.length || (a.length == b.length && a.edge < b.edge);
  }
};

// The smallest radius at which one vertex sees all others: longer edges never matter to homology.
template <class T>
T enclosing_radius(const T* D, std::size_t n) {
  T radius = std::numeric_limits<T>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    T farthest = 0;
    for (std::size_t j = 0; j < n; ++j) farthest = std::max(farthest, D[i * n + j]);
    radius = std::min(radius, farthest);
  }
  return radius;
}

}  // namespace tsl
