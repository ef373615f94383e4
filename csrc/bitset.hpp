// Rows of vertex bits with a width that is fixed at compile time for small clouds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tsl {

using Word = std::uint64_t;

inline std::size_t words_for(std::size_t bits) { return (bits + 63) / 64; }
inline unsigned lowest_bit(Word word) { return static_cast<unsigned>(__builtin_ctzll(word)); }
inline unsigned highest_bit(Word word) { return 63u - static_cast<unsigned>(__builtin_clzll(word)); }

// A square bit matrix of n rows; W is its number of words a row, or 0 where only run time knows.
template <int W>
class BitMatrix {
 public:
  void reset(std::size_t n) {
    width_ = W ? W : words_for(n);
    bits_.assign(n * width_, 0);
  }

  std::size_t width() const { return W ? W : width_; }
  const Word* row(std::size_t i) const { return bits_.data() + i * width(); }
  bool test(std::size_t i, std::size_t j) const { return row(i)[j / 64] >> (j % 64) & 1; }

  void connect(std::size_t i, std::size_t j) {
    bits_[i * width() + j / 64] |= Word{1} << (j % 64);
    bits_[j * width() + i / 64] |= Word{1} << (i % 64);
  }

  void copy_from(const BitMatrix& other) { bits_ = other.bits_; }

 private:
  std::vector<Word> bits_;
  std::size_t width_ = W;
};

}  // namespace tsl
