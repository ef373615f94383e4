// A bar of a diagram, of H0 and of H1 alike, and the barcode that they make.
#pragma once

#include <vector>

#include "rips/filtration.hpp"

namespace tsl::rips {

// The edge that creates the class and the edge that kills it. A class of H0 is born with a vertex
// v, which is written as the edge (v, v).
struct Bar {
  Edge birth;
  Edge death;
};

// All classes of one dimension: those that die, and the births of those that never do, in order of
// birth.
struct Barcode {
  std::vector<Bar> bars;
  std::vector<Edge> essential;

  void clear() {
    bars.clear();
    essential.clear();
  }
};

}  // namespace tsl::rips
