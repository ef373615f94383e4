// A bar of a diagram, of H0 and of H1 alike.
#pragma once

#include "rips/filtration.hpp"

namespace tsl::rips {

// The edge that creates the class and the edge that kills it. A class of H0 is born with a vertex
// v, which is written as the edge (v, v).
struct Bar {
  Edge birth;
  Edge death;
};

}  // namespace tsl::rips
