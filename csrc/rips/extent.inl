// Included by extent.cpp once per instruction set.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "geometry/lanes.inl"
#include "platform/stop.hpp"
#include "rips/filtration.hpp"

namespace tsl::TSL_TARGET::extent {

using namespace lanes;
using rips::Vertex;

template <class T>
T sum_and_farthest(const T* row, std::size_t n, T& farthest_of_row) {
  constexpr std::size_t L = Vector<T>::kLanes;
  Vector<T> farthest = {};
  Vector<T> sums = {};
  std::size_t j = 0;
  for (; j + L <= n; j += L) {
    const Vector<T> v = load(row + j);
    farthest = most(farthest, v);
    sums = sums + v;
  }
  T sum = sum_lanes<T>(sums);
  farthest_of_row = 0;
  T lanes[L];
  store(lanes, farthest);
  for (std::size_t l = 0; l < L; ++l) farthest_of_row = std::max(farthest_of_row, lanes[l]);
  for (; j < n; ++j) {
    farthest_of_row = std::max(farthest_of_row, row[j]);
    sum += row[j];
  }
  return sum;
}

template <class T>
T shortest_of(const T* lengths, std::size_t count) {
  constexpr std::size_t L = Vector<T>::kLanes;
  T shortest = std::numeric_limits<T>::infinity();
  std::size_t k = 0;
  if (count >= L) {
    Vector<T> shortest_lanes = load(lengths);
    for (k = L; k + L <= count; k += L) {
      shortest_lanes = least(shortest_lanes, load(lengths + k));
    }
    T lanes[L];
    store(lanes, shortest_lanes);
    for (std::size_t l = 0; l < L; ++l) shortest = std::min(shortest, lanes[l]);
  }
  for (; k < count; ++k) shortest = std::min(shortest, lengths[k]);
  return shortest;
}

template <class T>
void measure_rows(const T* D, std::size_t n, T& shortest, T& radius, T* sums) {
  Checkpoint checkpoint(64);
  for (std::size_t i = 0; i < n; ++i) {
    checkpoint.pass();
    const T* row = D + i * n;
    T farthest;
    const T sum = sum_and_farthest(row, n, farthest);
    radius = std::min(radius, farthest);
    shortest = std::min(shortest, shortest_of(row + i + 1, n - i - 1));
    // A matrix that nobody checked may hold NaN, by which nothing can be sorted.
    sums[i] = sum >= 0 ? sum : T{0};
  }
}

// Writes the vertices in the order of their sums, of equal sums the smaller vertex first.
template <class T>
void order_by_rank(const T* sums, std::size_t n, Vertex* order) {
  for (std::size_t v = 0; v < n; ++v) {
    std::uint32_t before = 0;
    for (std::size_t u = 0; u < v; ++u) before += sums[u] <= sums[v];
    for (std::size_t u = v + 1; u < n; ++u) before += sums[u] < sums[v];
    order[before] = static_cast<Vertex>(v);
  }
}

}  // namespace tsl::TSL_TARGET::extent
