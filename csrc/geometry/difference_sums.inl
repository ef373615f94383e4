// Included by difference_sums.cpp once per instruction set.

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "geometry/difference_sums.hpp"
#include "geometry/lanes.inl"
#include "platform/aligned.hpp"
#include "platform/stop.hpp"

namespace tsl::TSL_TARGET::difference_sums {

using namespace lanes;
using geometry::excess;

// |x_i - mean|^2 = mean_j D_ij^2 - (1/2) mean_kl D_kl^2.
template <class T>
void squares_from_mean(const T* D, std::size_t n, T* squares) {
  constexpr std::size_t L = Vector<T>::kLanes;
  const T share = T{1} / static_cast<T>(n);
  T half_mean = 0;
  for (std::size_t i = 0; i < n; ++i) {
    Vector<T> sums = {};
    for (std::size_t j = 0; j < n; j += L) {
      const Vector<T> lengths = load_part(D + i * n + j, std::min(L, n - j));
      add_product(sums, lengths, lengths);
    }
    squares[i] = share * sum_lanes<T>(sums);
    half_mean += share / 2 * squares[i];
  }
  for (std::size_t i = 0; i < n; ++i) squares[i] = std::max(T{0}, squares[i] - half_mean);
}

// The least and the largest excess of the pairs (i, j), i < j, of a row of D.
template <class T>
void find_excess(const T* row, const T* squares, std::size_t i, std::size_t n, T share,
                 T& least_excess, T& most_excess) {
  constexpr std::size_t L = Vector<T>::kLanes;
  Vector<T> lowest = every(least_excess);
  Vector<T> highest = every(most_excess);
  std::size_t j = i + 1;
  for (; j + L <= n; j += L) {
    const Vector<T> lengths = load(row + j);
    const Vector<T> over = lengths * lengths - share * (every(squares[i]) + load(squares + j));
    lowest = least(lowest, over);
    highest = most(highest, over);
  }
  T lanes[2 * L];
  store(lanes, lowest);
  store(lanes + L, highest);
  least_excess = *std::min_element(lanes, lanes + L);
  most_excess = *std::max_element(lanes + L, lanes + 2 * L);
  for (; j < n; ++j) {
    const T over = excess(row[j], squares[i] + squares[j], share);
    least_excess = std::min(least_excess, over);
    most_excess = std::max(most_excess, over);
  }
}

// Rows that share a pass over the points.
constexpr std::size_t kRows = TSL_ISA >= 2 ? 6 : 2;

// Numbers in vector v of a strip of `width` coordinates.
template <class T>
std::size_t count_in(std::size_t width, std::size_t v) {
  constexpr std::size_t L = Vector<T>::kLanes;
  return std::min(L, width - std::min(width, v * L));
}

// Copies one strip of coordinates, V vectors, of all points side by side, minus their mean. In x
// the points may lie a power of two apart, and then compete for the same few places of the cache.
template <std::size_t V, class T>
void copy_centred(const T* x, std::size_t n, std::size_t d, std::size_t width, T* strip) {
  constexpr std::size_t L = Vector<T>::kLanes;
  const T share = T{1} / static_cast<T>(n);
  Vector<T> mean[V] = {};
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t v = 0; v < V; ++v) {
      const Vector<T> point = load_part(x + i * d + v * L, count_in<T>(width, v));
      store(strip + (i * V + v) * L, point);
      // Divided before they are summed, for the sum could overflow.
      add_product(mean[v], share, point);
    }
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t v = 0; v < V; ++v) {
      T* const point = strip + (i * V + v) * L;
      store(point, load(point) - mean[v]);
    }
}

// One strip of a product: the coordinates of all n points side by side, and the rows, `stride`
// apart, that it is written to, or added to.
template <class T>
struct Strip {
  const T* points;
  std::size_t n;
  T* out;
  std::size_t stride;
  bool is_added;
};

// R rows from i of matrix * strip. A pragma unrolls the loops, because GCC would do so by itself
// only after it has put the sums into memory.
template <std::size_t V, std::size_t R, class T>
[[gnu::noinline]] void multiply_rows(const T* matrix, const Strip<T>& strip, std::size_t i) {
  constexpr std::size_t L = Vector<T>::kLanes;
  T* const out = strip.out + i * strip.stride;
  Vector<T> sums[R][V] = {};
  if (strip.is_added)
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (std::size_t v = 0; v < V; ++v) sums[r][v] = load(out + r * strip.stride + v * L);
  for (std::size_t j = 0; j < strip.n; ++j)
#pragma GCC unroll 8
    for (std::size_t v = 0; v < V; ++v) {
      const Vector<T> point = load(strip.points + (j * V + v) * L);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < R; ++r)
        add_product(sums[r][v], matrix[(i + r) * strip.n + j], point);
    }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (std::size_t v = 0; v < V; ++v) store(out + r * strip.stride + v * L, sums[r][v]);
}

// The rows from i to the last, at most R.
template <std::size_t V, std::size_t R, class T>
inline void multiply_last(const T* matrix, const Strip<T>& strip, std::size_t i) {
  if constexpr (R > 0) {
    if (strip.n - i == R) return multiply_rows<V, R>(matrix, strip, i);
    multiply_last<V, R - 1>(matrix, strip, i);
  }
}

template <std::size_t V, class T>
void multiply_strip(const T* matrix, const Strip<T>& strip) {
  std::size_t i = 0;
  for (; i + kRows <= strip.n; i += kRows) multiply_rows<V, kRows>(matrix, strip, i);
  multiply_last<V, kRows - 1>(matrix, strip, i);
}

// Copies `width` numbers of each of n rows.
template <class T>
void copy_rows(const T* from, std::size_t stride, std::size_t n, std::size_t width, T* to,
               std::size_t to_stride) {
  for (std::size_t i = 0; i < n; ++i)
    std::memcpy(to + i * to_stride, from + i * stride, width * sizeof(T));
}

// V vectors of coordinates at a time.
template <std::size_t V, class T>
void multiply_in_strips(const T* matrix, const T* x, std::size_t n, std::size_t d, bool is_added,
                        AlignedVector<T>& memory, T* out) {
  constexpr std::size_t kWidth = V * Vector<T>::kLanes;
  memory.resize(2 * n * kWidth);
  T* const points = memory.data();
  std::size_t t = 0;
  Checkpoint checkpoint(8);
  for (; t + kWidth <= d; t += kWidth) {
    checkpoint.pass();
    copy_centred<V>(x + t, n, d, kWidth, points);
    multiply_strip<V>(matrix, Strip<T>{points, n, out + t, d, is_added});
  }
  if (t == d) return;
  // The last coordinates fill no whole strip, so their product is formed in memory of its own.
  T* const apart = points + n * kWidth;
  copy_centred<V>(x + t, n, d, d - t, points);
  if (is_added) copy_rows(out + t, d, n, d - t, apart, kWidth);
  multiply_strip<V>(matrix, Strip<T>{points, n, apart, kWidth, is_added});
  copy_rows(apart, kWidth, n, d - t, out + t, d);
}

// out [n, d] = matrix [n, n] * (x - mean), or that added to out.
template <class T>
void write_product_with_centred(const T* matrix, const T* x, std::size_t n, std::size_t d,
                                bool is_added, AlignedVector<T>& memory, T* out) {
#if TSL_ISA == 512
  // The wider strip, whose sums fill the registers, as long as it fits the first cache.
  constexpr std::size_t kMostPoints = 128;
  if (n <= kMostPoints) return multiply_in_strips<4>(matrix, x, n, d, is_added, memory, out);
  return multiply_in_strips<2>(matrix, x, n, d, is_added, memory, out);
#else
  multiply_in_strips<1>(matrix, x, n, d, is_added, memory, out);
#endif
}

}  // namespace tsl::TSL_TARGET::difference_sums
