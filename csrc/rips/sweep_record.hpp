// What a sweep did, for those who ask it for more than bars.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "rips/filtration.hpp"

namespace tsl::rips {

// A generator is named by its place in the order of birth.
using Generator = std::uint32_t;

struct SweepRecord {
  // With `edge` the sum of the generators sums[begin] to sums[end - 1] became zero. None of them
  // had died before, and the youngest of them, `generator`, died.
  struct Death {
    Generator generator;
    Edge edge;
    std::size_t begin;
    std::size_t end;
  };

  // All edges up to the last that mattered, in filtration order; but those that came while no class
  // was alive, from one edge with an empty lune to the next, are in any order.
  std::vector<Edge> edges;
  std::vector<Edge> generators;
  std::vector<Death> deaths;
  std::vector<Generator> sums;
  // The most generators that were alive at once.
  std::size_t most_alive = 0;

  void clear() {
    edges.clear();
    generators.clear();
    deaths.clear();
    sums.clear();
    most_alive = 0;
  }

  void add_birth(Edge edge, std::size_t alive) {
    generators.push_back(edge);
    most_alive = std::max(most_alive, alive);
  }
};

}  // namespace tsl::rips
