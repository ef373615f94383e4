// How far the points of a cloud lie apart: what the filtration has to cover, and who is in the
// centre.
#pragma once

#include <cstddef>
#include <vector>

#include "platform/isa.hpp"
#include "rips/filtration.hpp"

namespace tsl::rips {

template <class T>
class Extent {
 public:
  // D is a symmetric [n, n] matrix with n > 1.
  void measure(const T* D, std::size_t n, Isa isa);

  T shortest() const { return shortest_; }

  // The enclosing radius: the smallest length within which one vertex has all others. From there on
  // the complex is a cone over that vertex, so longer edges change no homology. It is infinite where
  // every vertex lacks an edge.
  T enclosing_radius() const { return radius_; }

  // The length beyond which edges are absent, since they are longer than `limit` or infinite, or
  // change no homology. Without a single edge it is less than shortest().
  T longest_needed(const T* D, std::size_t n, T limit) const;

  // The vertices from the centre of the cloud outwards, by the sum of their distances.
  const std::vector<Vertex>& from_centre() const { return from_centre_; }

 private:
  // For at most so many vertices, counting how many come before each is faster than sorting.
  static constexpr std::size_t kMostRanked = 512;

  T shortest_ = 0;
  T radius_ = 0;
  std::vector<T> sums_;
  std::vector<Vertex> from_centre_;
};

}  // namespace tsl::rips
