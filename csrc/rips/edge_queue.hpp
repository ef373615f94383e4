// What EdgeQueue (edge_queue.inl) writes to, kept from cloud to cloud.
#pragma once

#include <cstdint>
#include <vector>

#include "platform/aligned.hpp"
#include "rips/filtration.hpp"

namespace tsl::rips {

template <class T>
struct EdgeMemory {
  // The edges of a tier as they were collected, lengths apart from edges.
  AlignedVector<T> lengths;
  AlignedVector<Edge> edges;
  // The same edges, bucket after bucket, and where each bucket begins.
  AlignedVector<FiltrationEdge<T>> spread;
  std::vector<std::uint32_t> starts;
  std::vector<FiltrationEdge<T>> resort;
  std::vector<T> sample;
};

}  // namespace tsl::rips
