// Linear algebra over Z/2 on the generators of H1: which of them are alive, and what equals what.
#pragma once

#include <algorithm>
#include <vector>

#include "bitset.hpp"

namespace tsl {

// Vectors over the generators born since the last time that nothing was alive. A vector is a sum of
// generators; it is reduced when it names none that has died.
class Relations {
 public:
  static constexpr std::uint32_t kNone = 0xffffffffu;

  std::size_t alive() const { return alive_; }

  void clear() {
    pool_.clear();
    vectors_.clear();
    relation_of_.clear();
    dead_.clear();
    alive_ = 0;
    deaths_ = 0;
  }

  // A new generator; returns the vector that holds it alone.
  std::uint32_t give_birth() {
    const std::size_t generator = relation_of_.size();
    relation_of_.push_back(kNone);
    dead_.resize(words_for(generator + 1), 0);
    ++alive_;
    scratch_.assign(dead_.size(), 0);
    scratch_[generator / 64] = Word{1} << (generator % 64);
    return store_scratch();
  }

  // scratch = 0, then sums of stored vectors are formed in it.
  void begin_sum() { scratch_.assign(dead_.size(), 0); }

  void add(std::uint32_t vector) {
    reduce_stored(vector);
    const Stored& v = vectors_[vector];
    const Word* words = pool_.data() + v.offset;
    for (std::size_t w = 0; w < v.size; ++w) scratch_[w] ^= words[w];
  }

  // Whether the sum of reduced vectors is zero.
  bool sum_is_zero() const {
    return std::all_of(scratch_.begin(), scratch_.end(), [](Word word) { return word == 0; });
  }

  std::uint32_t store_scratch() {
    std::size_t size = scratch_.size();
    while (size > 0 && scratch_[size - 1] == 0) --size;
    const std::size_t offset = pool_.size();
    pool_.insert(pool_.end(), scratch_.begin(),
                 scratch_.begin() + static_cast<std::ptrdiff_t>(size));
    vectors_.push_back({offset, static_cast<std::uint32_t>(size), deaths_});
    return static_cast<std::uint32_t>(vectors_.size() - 1);
  }

  // Makes the non-zero sum a relation: its youngest generator dies, and its index is returned.
  std::size_t kill_youngest() {
    std::size_t w = scratch_.size() - 1;
    while (scratch_[w] == 0) --w;
    const std::size_t generator = w * 64 + highest_bit(scratch_[w]);
    relation_of_[generator] = store_scratch();
    dead_[w] |= Word{1} << (generator % 64);
    ++deaths_;
    --alive_;
    return generator;
  }

  // Whether a stored vector is zero once reduced.
  bool is_zero(std::uint32_t vector) {
    reduce_stored(vector);
    return vectors_[vector].size == 0;
  }

 private:
  struct Stored {
    std::size_t offset;
    std::uint32_t size;
    // The number of deaths that this vector has been reduced by.
    std::uint32_t reduced_at;
  };

  // Every relation's other generators are older than the one it kills, so one pass down suffices.
  void reduce_stored(std::uint32_t vector) {
    Stored& v = vectors_[vector];
    if (v.reduced_at == deaths_) return;
    Word* words = pool_.data() + v.offset;
    for (std::size_t w = v.size; w-- > 0;) {
      while (const Word dead = words[w] & dead_[w]) {
        const Stored& r = vectors_[relation_of_[w * 64 + highest_bit(dead)]];
        const Word* relation = pool_.data() + r.offset;
        for (std::size_t u = 0; u < r.size; ++u) words[u] ^= relation[u];
      }
    }
    while (v.size > 0 && words[v.size - 1] == 0) --v.size;
    v.reduced_at = deaths_;
  }

  std::vector<Word> pool_;
  std::vector<Stored> vectors_;
  std::vector<std::uint32_t> relation_of_;
  std::vector<Word> dead_;
  std::vector<Word> scratch_;
  std::size_t alive_ = 0;
  std::uint32_t deaths_ = 0;
};

}  // namespace tsl
