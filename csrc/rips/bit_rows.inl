// Rows of bits in registers, for sweeps that foreach_isa.inl compiles; included by those.
#if defined(TSL_BIT_ROWS_INL) == defined(TSL_TARGET_TOGGLE)
#ifdef TSL_BIT_ROWS_INL
#undef TSL_BIT_ROWS_INL
#else
#define TSL_BIT_ROWS_INL
#endif

#include <cstddef>
#include <cstring>

#include "platform/intrinsics.hpp"
#include "rips/bitset.hpp"

namespace tsl::TSL_TARGET::bit_rows {

using namespace rips;

// The widest register that divides a row of W words; W = 0 stands for any multiple of 8.
template <std::size_t W>
constexpr std::size_t kBitBytes = W == 0 || W * 8 > kRegisterBytes ? kRegisterBytes : W * 8;

template <std::size_t kBytes>
struct BitsOf {
  typedef Word type __attribute__((vector_size(kBytes), may_alias));
};
template <>
struct BitsOf<sizeof(Word)> {
  using type = Word;
};

// A row of W words as registers of Bits, kCount of them.
template <std::size_t W>
struct RowLayout {
  using Bits = typename BitsOf<kBitBytes<W>>::type;
  static constexpr std::size_t kWords = kBitBytes<W> / sizeof(Word);
  static constexpr std::size_t kCount = W / kWords;
};

template <class Bits>
inline Bits load_bits(const Word* p) {
  Bits bits;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}

inline bool any_bit(Word bits) { return bits != 0; }

inline bool any_bit(typename BitsOf<16>::type bits) { return (bits[0] | bits[1]) != 0; }

#if TSL_ISA >= 2
inline bool any_bit(typename BitsOf<32>::type bits) {
  return !_mm256_testz_si256((__m256i)bits, (__m256i)bits);
}
#endif

#if TSL_ISA == 512
inline bool any_bit(typename BitsOf<64>::type bits) {
  return _mm512_test_epi64_mask((__m512i)bits, (__m512i)bits) != 0;
}
#endif

// The lowest bit that is set, of a register that has one.
inline std::size_t lowest_of(Word bits) { return lowest_bit(bits); }

template <class Bits>
inline std::size_t lowest_of(Bits bits) {
  Word words[sizeof(Bits) / sizeof(Word)];
  std::memcpy(words, &bits, sizeof bits);
  std::size_t w = 0;
  while (words[w] == 0) ++w;
  return w * 64 + lowest_bit(words[w]);
}

#if TSL_ISA == 512
inline std::size_t lowest_of(typename BitsOf<64>::type bits) {
  const __mmask8 words = _mm512_test_epi64_mask((__m512i)bits, (__m512i)bits);
  const __m512i first = _mm512_maskz_compress_epi64(words, (__m512i)bits);
  const auto word = static_cast<Word>(_mm_cvtsi128_si64(_mm512_castsi512_si128(first)));
  return static_cast<std::size_t>(__builtin_ctz(words)) * 64 + lowest_bit(word);
}
#endif

// The highest bit.
inline std::size_t highest_of(Word bits) { return highest_bit(bits); }

template <class Bits>
inline std::size_t highest_of(Bits bits) {
  constexpr std::size_t kWords = sizeof(Bits) / sizeof(Word);
  Word words[kWords];
  std::memcpy(words, &bits, sizeof bits);
  std::size_t w = kWords - 1;
  while (words[w] == 0) --w;
  return w * 64 + highest_bit(words[w]);
}

#if TSL_ISA == 512
inline std::size_t highest_of(typename BitsOf<64>::type bits) {
  const __mmask8 words = _mm512_test_epi64_mask((__m512i)bits, (__m512i)bits);
  const auto w = static_cast<std::size_t>(31 - __builtin_clz(words));
  const __m512i last =
      _mm512_permutexvar_epi64(_mm512_set1_epi64(static_cast<long long>(w)), (__m512i)bits);
  return w * 64 + highest_bit(static_cast<Word>(_mm_cvtsi128_si64(_mm512_castsi512_si128(last))));
}
#endif

// A register with the one bit that is given.
inline Word only_bit(std::size_t bit, Word) { return Word{1} << bit; }

template <class Bits>
inline Bits only_bit(std::size_t bit, Bits) {
  constexpr std::size_t kWords = sizeof(Bits) / sizeof(Word);
  Bits bits{};
  for (std::size_t w = 0; w < kWords; ++w) bits[w] = w == bit / 64 ? Word{1} << (bit % 64) : 0;
  return bits;
}

}  // namespace tsl::TSL_TARGET::bit_rows

#endif
