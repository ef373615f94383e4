// The total order of a Vietoris-Rips filtration: edges by (length, i, j) with i < j.
#pragma once

#include <cstddef>
#include <cstdint>

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

}  // namespace tsl
