// Vectors of 64 bytes, for kernels that foreach_isa.inl compiles; included by those.
#if defined(TSL_LANES_INL) == defined(TSL_TARGET_TOGGLE)
#ifdef TSL_LANES_INL
#undef TSL_LANES_INL
#else
#define TSL_LANES_INL
#endif

#include <cstddef>
#include <cstring>

#include "platform/intrinsics.hpp"

namespace tsl::TSL_TARGET::lanes {

// A compiler vector wider than a register would be taken apart through memory. All instruction sets
// sum in the same 16 (or 8) lanes, so those with fused multiply-add give the same bits.
template <class T>
struct Vector {
  typedef T Register __attribute__((vector_size(kRegisterBytes)));
  static constexpr std::size_t kLanes = 64 / sizeof(T);
  static constexpr std::size_t kRegisters = 64 / kRegisterBytes;
  Register part[kRegisters];
};

template <class T>
inline Vector<T> operator+(Vector<T> a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) a.part[k] += b.part[k];
  return a;
}

template <class T>
inline Vector<T> operator-(Vector<T> a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) a.part[k] -= b.part[k];
  return a;
}

template <class T>
inline Vector<T> operator*(T factor, Vector<T> a) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) a.part[k] *= factor;
  return a;
}

template <class T>
inline Vector<T> operator*(Vector<T> a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) a.part[k] *= b.part[k];
  return a;
}

// The same number in every lane.
template <class T>
inline Vector<T> every(T number) {
  Vector<T> v;
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    v.part[k] = typename Vector<T>::Register{} + number;
  return v;
}

// sum += a * b, and sum += factor * b.
template <class T>
inline void add_product(Vector<T>& sum, const Vector<T>& a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) sum.part[k] += a.part[k] * b.part[k];
}

template <class T>
inline void add_product(Vector<T>& sum, T factor, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) sum.part[k] += factor * b.part[k];
}

// a / b, and 0 where b is 0.
template <class T>
inline Vector<T> divided_or_zero(Vector<T> a, const Vector<T>& b) {
  using Register = typename Vector<T>::Register;
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    a.part[k] = b.part[k] > 0 ? a.part[k] / b.part[k] : Register{};
  return a;
}

// The smaller, or larger, number in each lane.
template <class T>
inline Vector<T> least(Vector<T> a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    a.part[k] = b.part[k] < a.part[k] ? b.part[k] : a.part[k];
  return a;
}

template <class T>
inline Vector<T> most(Vector<T> a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    a.part[k] = b.part[k] > a.part[k] ? b.part[k] : a.part[k];
  return a;
}

template <class T>
inline Vector<T> load(const T* p) {
  Vector<T> v;
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    std::memcpy(&v.part[k], p + k * (kRegisterBytes / sizeof(T)), kRegisterBytes);
  return v;
}

// The first `count` numbers at p, and zeros behind them.
template <class T>
inline Vector<T> load_part(const T* p, std::size_t count) {
  if (count == Vector<T>::kLanes) return load(p);
  T padded[Vector<T>::kLanes] = {};
  std::memcpy(padded, p, count * sizeof(T));
  return load(padded);
}

template <class T>
inline void store(T* p, const Vector<T>& v) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    std::memcpy(p + k * (kRegisterBytes / sizeof(T)), &v.part[k], kRegisterBytes);
}

template <class T>
inline void store_part(T* p, const Vector<T>& v, std::size_t count) {
  if (count == Vector<T>::kLanes) return store(p, v);
  T lanes[Vector<T>::kLanes];
  store(lanes, v);
  std::memcpy(p, lanes, count * sizeof(T));
}

template <class T>
inline T sum_lanes(const Vector<T>& v) {
  T sums[Vector<T>::kLanes];
  store(sums, v);
  for (std::size_t half = Vector<T>::kLanes / 2; half > 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) sums[l] += sums[l + half];
  return sums[0];
}

// The sums of the lanes of kCount vectors, each in the order of sum_lanes.
template <std::size_t kCount, class T>
inline void sum_lanes_of(const Vector<T> (&vectors)[kCount], T (&sums)[kCount]) {
  for (std::size_t k = 0; k < kCount; ++k) sums[k] = sum_lanes<T>(vectors[k]);
}

#if TSL_ISA == 512
// Halves of two vectors, side by side, take one addition for both.
inline void sum_lanes_of(const Vector<float> (&vectors)[16], float (&sums)[16]) {
  __m512 eights[8], fours[4], twos[2];
  for (std::size_t k = 0; k < 8; ++k) {
    const __m512 a = (__m512)vectors[2 * k].part[0];
    const __m512 b = (__m512)vectors[2 * k + 1].part[0];
    eights[k] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  }
  for (std::size_t k = 0; k < 4; ++k) {
    const __m512 a = eights[2 * k];
    const __m512 b = eights[2 * k + 1];
    fours[k] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }
  for (std::size_t k = 0; k < 2; ++k) {
    const __m512 a = fours[2 * k];
    const __m512 b = fours[2 * k + 1];
    twos[k] = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
  }
  const __m512 ones = _mm512_add_ps(_mm512_shuffle_ps(twos[0], twos[1], 0x88),
                                    _mm512_shuffle_ps(twos[0], twos[1], 0xdd));
  // The vector 4 t + l was summed in element t of the quarter l.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_ps(sums, _mm512_permutexvar_ps(order, ones));
}
#endif

#if TSL_ISA == 2
inline void sum_lanes_of(const Vector<float> (&vectors)[4], float (&sums)[4]) {
  __m256 eights[4], fours[2];
  for (std::size_t k = 0; k < 4; ++k)
    eights[k] = _mm256_add_ps((__m256)vectors[k].part[0], (__m256)vectors[k].part[1]);
  for (std::size_t k = 0; k < 2; ++k) {
    const __m256 a = eights[2 * k];
    const __m256 b = eights[2 * k + 1];
    fours[k] =
        _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }
  const __m256 twos = _mm256_add_ps(_mm256_shuffle_ps(fours[0], fours[1], 0x44),
                                    _mm256_shuffle_ps(fours[0], fours[1], 0xee));
  const __m256 ones = _mm256_hadd_ps(twos, twos);
  // Of each half the first two elements: vectors 0 and 2, then 1 and 3.
  const __m128 even = _mm256_castps256_ps128(ones);
  _mm_storeu_ps(sums, _mm_unpacklo_ps(even, _mm256_extractf128_ps(ones, 1)));
}
#endif

}  // namespace tsl::TSL_TARGET::lanes

#endif
