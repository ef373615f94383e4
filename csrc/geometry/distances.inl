// Included by distances.cpp once per instruction set.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "geometry/lanes.inl"
#include "geometry/length.hpp"
#include "platform/aligned.hpp"
#include "platform/stop.hpp"

namespace tsl::TSL_TARGET::distances {

using namespace lanes;
using geometry::length_of;

// Rows of a tile that fit the registers of this instruction set.
#if TSL_ISA == 512
constexpr std::size_t kTile = 4;
#elif TSL_ISA == 2
constexpr std::size_t kTile = 2;
#else
constexpr std::size_t kTile = 1;
#endif

// Adds the squared differences of one block of coordinates, which `read` loads. Takes one register
// of all blocks at a time, because whole blocks would not fit in the registers beside the sums.
template <class T, std::size_t R, std::size_t C, class Read>
inline void add_squares(const T* a, const T* b, std::size_t d, Read read,
                        Vector<T> (&sums)[R * C]) {
  Vector<T> rows[R];
  Vector<T> columns[C];
  for (std::size_t r = 0; r < R; ++r) rows[r] = read(a + r * d);
  for (std::size_t c = 0; c < C; ++c) columns[c] = read(b + c * d);
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    for (std::size_t r = 0; r < R; ++r)
      for (std::size_t c = 0; c < C; ++c) {
        const auto difference = rows[r].part[k] - columns[c].part[k];
        sums[r * C + c].part[k] += difference * difference;
      }
}

// Adds the squared differences between R rows from a and C rows from b, rows d apart, in the
// coordinates from `from` to `to`. `to` is a multiple of the lanes or the number of coordinates;
// the last block is padded with zeros, so that every pair is summed in the same order everywhere.
template <class T, std::size_t R, std::size_t C>
inline void add_tile(const T* a, const T* b, std::size_t d, std::size_t from, std::size_t to,
                     Vector<T> (&sums)[R * C]) {
  constexpr std::size_t L = Vector<T>::kLanes;
  std::size_t t = from;
  for (; t + L <= to; t += L)
    add_squares<T, R, C>(a, b, d, [t](const T* p) { return load(p + t); }, sums);
  if (t < to)
    add_squares<T, R, C>(a, b, d, [t, to](const T* p) { return load_part(p + t, to - t); }, sums);
}

// Writes the distances of a tile whose sums are complete.
template <class T, std::size_t R, std::size_t C>
inline void finish_tile(const T* x, std::size_t n, std::size_t d, std::size_t i, std::size_t j,
                        const Vector<T> (&sums)[R * C], T* D) {
  T squares[R * C];
  sum_lanes_of(sums, squares);
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t c = 0; c < C; ++c) {
      const T length = length_of(squares[r * C + c], x + (i + r) * d, x + (j + c) * d, d);
      D[(i + r) * n + j + c] = length;
      D[(j + c) * n + i + r] = length;
    }
}

template <class T, std::size_t R, std::size_t C>
inline void distance_tile(const T* x, std::size_t n, std::size_t d, std::size_t i, std::size_t j,
                          T* D) {
  Vector<T> sums[R * C] = {};
  add_tile<T, R, C>(x + i * d, x + j * d, d, 0, d, sums);
  finish_tile<T, R, C>(x, n, d, i, j, sums, D);
}

// A chunk of coordinates: of so many, a tile's rows stay in the first cache while one tile after
// another reads them.
constexpr std::size_t kChunk = 768;

// The tiles of the rows from i on and the columns from `from` to `to`, chunk by chunk of the
// coordinates.
template <class T>
void fill_tiles_in_chunks(const T* x, std::size_t n, std::size_t d, std::size_t i, std::size_t from,
                          std::size_t to, AlignedVector<T>& memory, T* D) {
  constexpr std::size_t kSums = kTile * kTile;
  constexpr std::size_t L = Vector<T>::kLanes;
  memory.assign((to - from) * kTile * L, T{0});
  for (std::size_t begin = 0; begin < d; begin += kChunk) {
    const std::size_t end = std::min(d, begin + kChunk);
    for (std::size_t j = from; j < to; j += kTile) {
      T* const kept = memory.data() + (j - from) * kTile * L;
      Vector<T> sums[kSums];
      for (std::size_t k = 0; k < kSums; ++k) sums[k] = load(kept + k * L);
      add_tile<T, kTile, kTile>(x + i * d, x + j * d, d, begin, end, sums);
      if (end == d) {
        finish_tile<T, kTile, kTile>(x, n, d, i, j, sums, D);
        continue;
      }
      for (std::size_t k = 0; k < kSums; ++k) store(kept + k * L, sums[k]);
    }
  }
}

// The points of a block: the rows of two blocks stay in the second cache, and so do the entries of
// D between them.
constexpr std::size_t kBlock = 64;

template <class T>
void fill_distances(const T* x, std::size_t n, std::size_t d, T* D) {
  const std::size_t whole = n / kTile * kTile;
  AlignedVector<T> memory;
  Checkpoint checkpoint(8);
  for (std::size_t block = 0; block < whole; block += kBlock)
    for (std::size_t other = block; other < whole; other += kBlock) {
      checkpoint.pass();
      for (std::size_t i = block; i < std::min(whole, block + kBlock); i += kTile) {
        const std::size_t from = std::max(i, other);
        const std::size_t to = std::min(whole, other + kBlock);
        if (TSL_ISA == 512 && d > kChunk)
          fill_tiles_in_chunks(x, n, d, i, from, to, memory, D);
        else
          for (std::size_t j = from; j < to; j += kTile)
            distance_tile<T, kTile, kTile>(x, n, d, i, j, D);
      }
    }
  for (std::size_t i = 0; i < whole; i += kTile)
    for (std::size_t j = whole; j < n; ++j) distance_tile<T, kTile, 1>(x, n, d, i, j, D);
  for (std::size_t i = whole; i < n; ++i)
    for (std::size_t j = i; j < n; ++j) distance_tile<T, 1, 1>(x, n, d, i, j, D);
}

// Vectors of a row that one pass over the points sums in registers, and rows that share the pass.
#if TSL_ISA == 512
constexpr std::size_t kStrip = 2;
constexpr std::size_t kRows = 4;
#else
constexpr std::size_t kStrip = 1;
constexpr std::size_t kRows = 2;
#endif

// Sums one strip of coordinates for R points from i; `strip` holds the points' strips side by side.
// The pragmas are explained in difference_sums.inl.
template <std::size_t R, class T>
void sum_strip(const T* strip, const T* weights, std::size_t i, std::size_t n, std::size_t width,
               std::size_t d, T* grad_x) {
  constexpr std::size_t L = Vector<T>::kLanes;
  Vector<T> here[R][kStrip];
  Vector<T> sums[R][kStrip] = {};
#pragma GCC unroll 8
  for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (std::size_t u = 0; u < kStrip; ++u) here[r][u] = load(strip + ((i + r) * kStrip + u) * L);
  for (std::size_t j = 0; j < n; ++j)
#pragma GCC unroll 8
    for (std::size_t u = 0; u < kStrip; ++u) {
      const Vector<T> there = load(strip + (j * kStrip + u) * L);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < R; ++r)
        add_product(sums[r][u], weights[(i + r) * n + j], here[r][u] - there);
    }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < R; ++r) {
    T out[kStrip * L];
#pragma GCC unroll 8
    for (std::size_t u = 0; u < kStrip; ++u) store(out + u * L, sums[r][u]);
    std::memcpy(grad_x + (i + r) * d, out, width * sizeof(T));
  }
}

template <class T>
void fill_strip(const T* strip, const T* weights, std::size_t n, std::size_t width, std::size_t d,
                T* grad_x) {
  std::size_t i = 0;
  for (; i + kRows <= n; i += kRows) sum_strip<kRows>(strip, weights, i, n, width, d, grad_x);
  for (; i < n; ++i) sum_strip<1>(strip, weights, i, n, width, d, grad_x);
}

// Each strip is copied together first, because points that lie a power of two apart would compete
// for the same few places of the cache.
template <class T>
void fill_differences(const T* x, const T* weights, std::size_t n, std::size_t d, T* grad_x) {
  constexpr std::size_t kWidth = kStrip * Vector<T>::kLanes;
  std::vector<T> strip(n * kWidth);
  Checkpoint checkpoint(8);
  for (std::size_t t = 0; t < d; t += kWidth) {
    checkpoint.pass();
    const std::size_t width = std::min(kWidth, d - t);
    for (std::size_t i = 0; i < n; ++i)
      std::memcpy(strip.data() + i * kWidth, x + i * d + t, width * sizeof(T));
    fill_strip(strip.data(), weights, n, width, d, grad_x + t);
  }
}

template <class T>
void fill_edge_lengths(const T* x, const std::int64_t* edges, std::size_t count, std::size_t d,
                       T* lengths) {
  for (std::size_t k = 0; k < count; ++k) {
    const std::int64_t i = edges[2 * k];
    const std::int64_t j = edges[2 * k + 1];
    lengths[k] = 0;
    if (i < 0 || j < 0 || i == j) continue;
    const T* a = x + static_cast<std::size_t>(i) * d;
    const T* b = x + static_cast<std::size_t>(j) * d;
    Vector<T> sums[1] = {};
    add_tile<T, 1, 1>(a, b, d, 0, d, sums);
    lengths[k] = length_of(sum_lanes<T>(sums[0]), a, b, d);
  }
}

}  // namespace tsl::TSL_TARGET::distances
