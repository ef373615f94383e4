// What Relations (relations.inl) writes to, kept from cloud to cloud.
#pragma once

#include <cstdint>
#include <vector>

#include "platform/aligned.hpp"
#include "rips/bitset.hpp"

namespace tsl::rips {

// A stored vector: where its words begin, how many blocks they are, and how many generators had
// died when it was last reduced.
struct StoredVector {
  std::size_t offset;
  std::uint32_t blocks;
  std::uint32_t reduced_at;
};

struct RelationMemory {
  AlignedVector<Word> pool;
  std::vector<StoredVector> stored;
  // For each generator that died, its relation, and how many had died when that was last reduced.
  AlignedVector<Word> relations;
  std::vector<std::uint32_t> reduced_at;
  // Sets of generators: those that died, and the sum that is being formed.
  AlignedVector<Word> dead;
  AlignedVector<Word> sum;
};

}  // namespace tsl::rips
