// The total order of a Vietoris-Rips filtration: edges by (length, i, j) with i < j.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace tsl::rips {

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
  Edge edge;
  T length;

  friend bool operator<(const FiltrationEdge& a, const FiltrationEdge& b) {
    if constexpr (std::is_same_v<T, float>)
      return a.packed() < b.packed();
    else
      return a.length < b.length || (a.length == b.length && a.edge < b.edge);
  }

 private:
  // The bits of floats that are not negative, read as whole numbers, are in the order of the
  // floats, so one comparison orders by length, then by edge.
  std::uint64_t packed() const {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &length, sizeof bits);
    return std::uint64_t{bits} << 32 | edge;
  }
};

// Adds 0, which turns a length of -0 into +0: packed() compares bits, and -0 would come last.
template <class T>
FiltrationEdge<T> filtration_edge(T length, Edge edge) {
  return {edge, length + T{0}};
}

}  // namespace tsl::rips
