// Included by h0.cpp once per instruction set.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "geometry/lanes.inl"
#include "platform/intrinsics.hpp"
#include "platform/stop.hpp"
#include "rips/filtration.hpp"
#include "rips/h0.hpp"

namespace tsl::TSL_TARGET::prim {

using namespace lanes;
using rips::FiltrationEdge;
using rips::Number;
using rips::Vertex;

template <class T>
inline T least_lane(const Vector<T>& v) {
  T lanes[Vector<T>::kLanes];
  store(lanes, v);
  for (std::size_t half = Vector<T>::kLanes / 2; half > 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) lanes[l] = std::min(lanes[l], lanes[l + half]);
  return lanes[0];
}

// Bit l says whether lane l is this number.
template <class T>
inline unsigned lanes_equal(const Vector<T>& v, T number) {
  T lanes[Vector<T>::kLanes];
  store(lanes, v);
  unsigned bits = 0;
  for (std::size_t l = 0; l < Vector<T>::kLanes; ++l) bits |= unsigned{lanes[l] == number} << l;
  return bits;
}

#if TSL_ISA == 512
inline float least_lane(const Vector<float>& v) { return _mm512_reduce_min_ps((__m512)v.part[0]); }
inline double least_lane(const Vector<double>& v) {
  return _mm512_reduce_min_pd((__m512d)v.part[0]);
}
inline unsigned lanes_equal(const Vector<float>& v, float number) {
  return _mm512_cmp_ps_mask((__m512)v.part[0], _mm512_set1_ps(number), _CMP_EQ_OQ);
}
inline unsigned lanes_equal(const Vector<double>& v, double number) {
  return _mm512_cmp_pd_mask((__m512d)v.part[0], _mm512_set1_pd(number), _CMP_EQ_OQ);
}
#endif

#if TSL_ISA == 2
inline unsigned lanes_equal(const Vector<float>& v, float number) {
  const __m256 all = _mm256_set1_ps(number);
  const int low = _mm256_movemask_ps(_mm256_cmp_ps((__m256)v.part[0], all, _CMP_EQ_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps((__m256)v.part[1], all, _CMP_EQ_OQ));
  return static_cast<unsigned>(low | high << 8);
}
inline unsigned lanes_equal(const Vector<double>& v, double number) {
  const __m256d all = _mm256_set1_pd(number);
  const int low = _mm256_movemask_pd(_mm256_cmp_pd((__m256d)v.part[0], all, _CMP_EQ_OQ));
  const int high = _mm256_movemask_pd(_mm256_cmp_pd((__m256d)v.part[1], all, _CMP_EQ_OQ));
  return static_cast<unsigned>(low | high << 4);
}
#endif

// After `added` has joined the tree, whose row of D is `row` and can be read so far: of each vertex
// outside the distance to the tree and the nearest vertex inside. Returns the shortest distance.
template <class T>
T come_closer(const T* row, std::size_t readable, Vertex added, std::size_t n, T* length,
              Number<T>* nearest) {
  constexpr std::size_t L = Vector<T>::kLanes;
  Number<T> numbers[L];
  for (std::size_t l = 0; l < L; ++l) numbers[l] = static_cast<Number<T>>(l);
  Vector<Number<T>> vertices = load(numbers);
  const Vector<Number<T>> joined = every(Number<T>{added});
  const Vector<T> none = every(std::numeric_limits<T>::quiet_NaN());
  Vector<T> shortest = every(std::numeric_limits<T>::infinity());
  for (std::size_t v = 0; v < n; v += L) {
    const Vector<T> reached = load_part(row + v, std::min(L, readable - v));
    Vector<T> own = load(length + v);
    Vector<Number<T>> near = load(nearest + v);
    for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) {
      own.part[k] = vertices.part[k] == joined.part[k] ? none.part[k] : own.part[k];
      // Of two edges of equal length at one vertex, the one to the smaller neighbour comes first.
      const auto closer = (reached.part[k] < own.part[k]) |
                          ((reached.part[k] == own.part[k]) & (joined.part[k] < near.part[k]));
      own.part[k] = closer ? reached.part[k] : own.part[k];
      near.part[k] = closer ? joined.part[k] : near.part[k];
    }
    store(length + v, own);
    store(nearest + v, near);
    shortest = least(shortest, own);
    vertices = vertices + every(Number<T>{L});
  }
  return least_lane(shortest);
}

// Grows the tree from vertex 0 by n - 1 edges. A vertex inside has the length NaN, which no
// comparison finds, so that rows are read from end to end and without a branch. There is room in
// `length` and `nearest` for whole vectors.
template <class T>
void grow_tree(const T* D, std::size_t n, T* length, Number<T>* nearest, FiltrationEdge<T>* tree) {
  constexpr std::size_t L = Vector<T>::kLanes;
  const std::size_t whole = (n + L - 1) / L * L;
  std::fill_n(length, n, std::numeric_limits<T>::infinity());
  std::fill_n(length + n, whole - n, std::numeric_limits<T>::quiet_NaN());
  std::fill_n(nearest, whole, Number<T>{0});
  Vertex added = 0;
  Checkpoint checkpoint(64);
  for (std::size_t count = n - 1; count > 0; --count) {
    checkpoint.pass();
    // The last vector may reach into the next row, but not beyond the matrix.
    const T shortest = come_closer(D + added * n, n * n - added * n, added, n, length, nearest);
    rips::Edge first = std::numeric_limits<rips::Edge>::max();
    for (std::size_t v = 0; v < n; v += L)
      for (unsigned found = lanes_equal(load(length + v), shortest); found; found &= found - 1) {
        const Vertex u = static_cast<Vertex>(v) + static_cast<Vertex>(__builtin_ctz(found));
        const rips::Edge edge = rips::make_edge(u, static_cast<Vertex>(nearest[u]));
        if (edge < first) {
          first = edge;
          added = u;
        }
      }
    *tree++ = rips::filtration_edge(shortest, first);
  }
}

}  // namespace tsl::TSL_TARGET::prim
