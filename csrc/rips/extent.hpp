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

  // The smallest radius at which one vertex sees all others: longer edges never matter to homology.
  T enclosing_radius() const { return radius_; }

  // The vertices from the centre of the cloud outwards, by the sum of their distances.
  const std::vector<Vertex>& from_centre() const { return from_centre_; }

 private:
  // Up to so many vertices each is compared with all others; that takes less time than sorting.
  static constexpr std::size_t kMostRanked = 512;

  T shortest_ = 0;
  T radius_ = 0;
  std::vector<T> sums_;
  std::vector<Vertex> from_centre_;
};

}  // namespace tsl::rips
