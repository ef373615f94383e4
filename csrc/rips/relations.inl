// Linear algebra over Z/2 on the generators of H1: which of them are alive, and which sums of them
// equal each other.
#if defined(TSL_RELATIONS_INL) == defined(TSL_TARGET_TOGGLE)
#ifdef TSL_RELATIONS_INL
#undef TSL_RELATIONS_INL
#else
#define TSL_RELATIONS_INL
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "rips/bit_rows.inl"
#include "rips/relations.hpp"

namespace tsl::TSL_TARGET::relations {

using namespace bit_rows;
using namespace rips;

// The generators are those born since no class was alive last. A vector is a sum of generators; it
// is reduced when it holds none that has died. The relation of a generator that died is the sum of
// older generators that it equals since then.
template <std::size_t kBlockBytes>
class Relations {
 public:
  explicit Relations(RelationMemory& memory) : memory_(memory) { clear(); }

  std::size_t alive() const { return alive_; }
  bool is_alive(std::size_t generator) const {
    return !(memory_.dead[generator / 64] >> (generator % 64) & 1);
  }

  void clear() {
    memory_.reduced_at.clear();
    memory_.stored.clear();
    pool_size_ = 0;
    blocks_ = 0;
    alive_ = 0;
    deaths_ = 0;
  }

  // A new generator; returns the vector that holds it alone.
  std::uint32_t give_birth() {
    const std::size_t generator = memory_.reduced_at.size();
    if (generator == blocks_ * kBits) grow();
    memory_.reduced_at.push_back(0);
    ++alive_;
    begin_sum();
    sum()[generator / 64] = Word{1} << (generator % 64);
    return store_sum();
  }

  // sum = 0, then sums of stored vectors are formed in it.
  void begin_sum() { std::fill_n(sum(), blocks_ * kWords, Word{0}); }

  // The vector must be reduced: is_zero() has been asked since the last death.
  void add(std::uint32_t vector) {
    const StoredVector& v = memory_.stored[vector];
    add_blocks(sum(), memory_.pool.data() + v.offset, v.blocks);
  }

  // Whether the sum of reduced vectors is zero.
  bool sum_is_zero() const {
    Bits any{};
    for (std::size_t b = 0; b < blocks_; ++b) any |= block(sum(), b);
    return !any_bit(any);
  }

  // Calls visit(generator) for each generator of the sum, the oldest first.
  template <class Visit>
  void for_each_of_sum(Visit visit) const {
    for (std::size_t w = 0; w < blocks_ * kWords; ++w)
      for (Word left = sum()[w]; left; left &= left - 1) visit(w * 64 + lowest_bit(left));
  }

  std::uint32_t store_sum() {
    std::size_t blocks = blocks_;
    while (blocks > 0 && !any_bit(block(sum(), blocks - 1))) --blocks;
    const std::size_t end = pool_size_ + blocks * kWords;
    if (memory_.pool.size() < end) memory_.pool.resize(2 * end);
    std::copy_n(sum(), blocks * kWords, memory_.pool.data() + pool_size_);
    memory_.stored.push_back({pool_size_, static_cast<std::uint32_t>(blocks), deaths_});
    pool_size_ = end;
    return static_cast<std::uint32_t>(memory_.stored.size() - 1);
  }

  // Makes the non-zero sum zero: its youngest generator dies, and its index is returned.
  std::size_t kill_youngest() {
    std::size_t b = blocks_ - 1;
    while (!any_bit(block(sum(), b))) --b;
    const std::size_t bit = highest_of(block(sum(), b));
    const std::size_t generator = b * kBits + bit;
    Word* const rest = relation(b, bit);
    std::copy_n(sum(), (b + 1) * kWords, rest);
    // The sum is zero from now on, so the generator equals the rest of it.
    rest[generator / 64] ^= Word{1} << (generator % 64);
    memory_.dead[generator / 64] |= Word{1} << (generator % 64);
    memory_.reduced_at[generator] = ++deaths_;
    --alive_;
    return generator;
  }

  // Whether a stored vector is zero once reduced.
  bool is_zero(std::uint32_t vector) {
    StoredVector& v = memory_.stored[vector];
    if (v.reduced_at != deaths_) {
      Word* const words = memory_.pool.data() + v.offset;
      reduce(words, v.blocks, 0);
      while (v.blocks > 0 && !any_bit(block(words, v.blocks - 1))) --v.blocks;
      v.reduced_at = deaths_;
    }
    return v.blocks == 0;
  }

 private:
  // A block is a register full of generators.
  using Bits = typename BitsOf<kBlockBytes>::type;
  static constexpr std::size_t kWords = kBlockBytes / sizeof(Word);
  static constexpr std::size_t kBits = kWords * 64;

  Word* sum() { return memory_.sum.data(); }
  const Word* sum() const { return memory_.sum.data(); }

  static Bits block(const Word* words, std::size_t b) {
    return load_bits<Bits>(words + b * kWords);
  }

  static void add_blocks(Word* to, const Word* words, std::size_t count) {
    for (std::size_t w = 0; w < count * kWords; w += kWords) {
      const Bits added = load_bits<Bits>(to + w) ^ load_bits<Bits>(words + w);
      std::memcpy(to + w, &added, sizeof added);
    }
  }

  // A relation holds older generators alone, so those of block b take b + 1 blocks each.
  static std::size_t first_relation(std::size_t b) { return b * (b + 1) / 2 * kBits * kWords; }

  Word* relation(std::size_t b, std::size_t bit) {
    return memory_.relations.data() + first_relation(b) + bit * (b + 1) * kWords;
  }

  void grow() {
    ++blocks_;
    if (memory_.dead.size() < blocks_ * kWords) {
      memory_.dead.resize(2 * blocks_ * kWords);
      memory_.sum.resize(2 * blocks_ * kWords);
    }
    if (memory_.relations.size() < first_relation(blocks_))
      memory_.relations.resize(first_relation(blocks_));
    std::fill_n(memory_.dead.data() + (blocks_ - 1) * kWords, kWords, Word{0});
  }

  // A relation holds older generators alone, so one pass from the youngest down is enough.
  void reduce(Word* words, std::size_t blocks, unsigned depth) {
    for (std::size_t b = blocks; b-- > 0;) reduce_block(words, b, depth);
  }

  void reduce_block(Word* words, std::size_t b, unsigned depth) {
    Bits top = block(words, b);
    const Bits dead = block(memory_.dead.data(), b);
    for (;;) {
      const Bits named = top & dead;
      if (!any_bit(named)) break;
      const std::size_t bit = highest_of(named);
      Word* const equal = relation(b, bit);
      std::uint32_t& reduced_at = memory_.reduced_at[b * kBits + bit];
      if (deaths_ - reduced_at > kLag && depth < kDeepest) {
        reduce(equal, b + 1, depth + 1);
        reduced_at = deaths_;
      }
      add_blocks(words, equal, b);
      top ^= block(equal, b) ^ only_bit(bit, Bits{});
    }
    std::memcpy(words + b * kWords, &top, sizeof top);
  }

  // A relation that is used is reduced first if more than kLag generators died since it last was;
  // that may ask the same of others, to this depth.
  static constexpr std::uint32_t kLag = 64;
  static constexpr unsigned kDeepest = 50;

  RelationMemory& memory_;
  std::size_t pool_size_ = 0;
  std::size_t blocks_ = 0;
  std::size_t alive_ = 0;
  std::uint32_t deaths_ = 0;
};

}  // namespace tsl::TSL_TARGET::relations

#endif
