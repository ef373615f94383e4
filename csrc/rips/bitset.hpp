// Sets of vertices as rows of bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tsl::rips {

using Word = std::uint64_t;

inline std::size_t words_for(std::size_t bits) { return (bits + 63) / 64; }
inline unsigned lowest_bit(Word word) { return static_cast<unsigned>(__builtin_ctzll(word)); }
inline unsigned highest_bit(Word word) {
  return 63u - static_cast<unsigned>(__builtin_clzll(word));
}

}  // namespace tsl::rips
