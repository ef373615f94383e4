// Whether a matrix holds distances, fast enough to ask at every call.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace tsl::geometry {

// 16 bytes, which the plain instruction set of x86-64 and of arm64 has: `Bits` are as wide as T.
template <class T>
struct Sixteen;

template <>
struct Sixteen<float> {
  typedef float Register __attribute__((vector_size(16)));
  typedef int Bits __attribute__((vector_size(16)));
};

template <>
struct Sixteen<double> {
  typedef double Register __attribute__((vector_size(16)));
  typedef long long Bits __attribute__((vector_size(16)));
};

// The lanes of `a`, then those of `b`, in this order; the compilers have no name in common for it.
#if defined(__clang__)
#define TSL_LANES(T, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define TSL_LANES(T, a, b, ...) __builtin_shuffle(a, b, Sixteen<T>::Bits{__VA_ARGS__})
#endif

// Rows become columns.
inline void transpose(Sixteen<float>::Register (&rows)[4]) {
  const auto upper = TSL_LANES(float, rows[0], rows[1], 0, 4, 1, 5);
  const auto lower = TSL_LANES(float, rows[2], rows[3], 0, 4, 1, 5);
  const auto upper_right = TSL_LANES(float, rows[0], rows[1], 2, 6, 3, 7);
  const auto lower_right = TSL_LANES(float, rows[2], rows[3], 2, 6, 3, 7);
  rows[0] = TSL_LANES(float, upper, lower, 0, 1, 4, 5);
  rows[1] = TSL_LANES(float, upper, lower, 2, 3, 6, 7);
  rows[2] = TSL_LANES(float, upper_right, lower_right, 0, 1, 4, 5);
  rows[3] = TSL_LANES(float, upper_right, lower_right, 2, 3, 6, 7);
}

inline void transpose(Sixteen<double>::Register (&rows)[2]) {
  const auto first = TSL_LANES(double, rows[0], rows[1], 0, 2);
  rows[1] = TSL_LANES(double, rows[0], rows[1], 1, 3);
  rows[0] = first;
}

#undef TSL_LANES

// Calls visit(i, j) for every square block, 16 bytes wide, on the diagonal and below it; returns
// the first row that is in none. In tiles, because the mirrored entries of one row lie far apart.
template <class T, class Visit>
std::size_t for_each_block(std::size_t n, Visit visit) {
  constexpr std::size_t kLanes = 16 / sizeof(T), kTile = 16;
  const std::size_t whole = n / kLanes * kLanes;
  for (std::size_t i0 = 0; i0 < whole; i0 += kTile)
    for (std::size_t j0 = 0; j0 <= i0; j0 += kTile)
      for (std::size_t i = i0; i < std::min(whole, i0 + kTile); i += kLanes)
        for (std::size_t j = j0; j < std::min(whole, j0 + kTile); j += kLanes) visit(i, j);
  return whole;
}

// The rows of a block, which lie `stride` entries apart.
template <class T>
inline void load_rows(const T* block, std::size_t stride,
                      typename Sixteen<T>::Register (&rows)[16 / sizeof(T)]) {
  for (std::size_t k = 0; k < 16 / sizeof(T); ++k) std::memcpy(&rows[k], block + k * stride, 16);
}

// Not 0 where an entry of the square block at `block` is negative, a NaN, or another than its
// mirror image in the block at `mirrored`. Rows lie n entries apart.
template <class T>
inline typename Sixteen<T>::Bits block_faults(const T* block, const T* mirrored, std::size_t n) {
  constexpr std::size_t kLanes = 16 / sizeof(T);
  typename Sixteen<T>::Register rows[kLanes], columns[kLanes];
  load_rows(block, n, rows);
  load_rows(mirrored, n, columns);
  transpose(columns);
  typename Sixteen<T>::Bits faults{};
  for (std::size_t k = 0; k < kLanes; ++k) faults |= (rows[k] != columns[k]) | (rows[k] < 0);
  return faults;
}

// Whether the matrix is exactly symmetric, 0 on its diagonal, nowhere negative and free of NaN;
// without a branch.
template <class T>
bool is_distance_matrix(const T* matrix, std::size_t n) {
  typename Sixteen<T>::Bits faults{};
  const std::size_t whole = for_each_block<T>(n, [&](std::size_t i, std::size_t j) {
    faults |= block_faults(matrix + i * n + j, matrix + j * n + i, n);
  });
  bool faulty = false;
  for (std::size_t k = 0; k < 16 / sizeof(T); ++k) faulty |= faults[k] != 0;
  for (std::size_t i = whole; i < n; ++i)
    for (std::size_t j = 0; j < i; ++j)
      faulty |= (matrix[i * n + j] < 0) | (matrix[i * n + j] != matrix[j * n + i]);
  for (std::size_t i = 0; i < n; ++i) faulty |= matrix[i * n + i] != 0;
  return !faulty;
}

}  // namespace tsl::geometry
