// Included by edge_scatter.cpp once per instruction set.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "geometry/lanes.inl"

namespace tsl::TSL_TARGET::edge_scatter {

using namespace lanes;

// The most neighbours that one pass over a row sums. A pass is compiled for each number up to it,
// because a loop over a number known at run time alone would keep the sums in memory.
constexpr std::size_t kMost = 6;

// sum_k weights[k] * (x_i - x_k) over C neighbours, written to a row or added to what it has.
template <std::size_t C, bool kAdds, class T>
void sum_pass(const T* x, std::size_t i, const std::uint32_t* neighbours, const T* weights,
              std::size_t d, T* to) {
  constexpr std::size_t L = Vector<T>::kLanes;
  const T* const here = x + i * d;
  // Of kMost elements rather than C, because C may be 0 and an array has at least one.
  const T* there[kMost];
  T by[kMost];
  for (std::size_t k = 0; k < C; ++k) {
    there[k] = x + neighbours[k] * d;
    by[k] = weights[k];
  }
  std::size_t t = 0;
  for (; t + L <= d; t += L) {
    const Vector<T> point = load(here + t);
    Vector<T> sum = kAdds ? load(to + t) : Vector<T>{};
    for (std::size_t k = 0; k < C; ++k) add_product(sum, by[k], point - load(there[k] + t));
    store(to + t, sum);
  }
  for (; t < d; ++t) {
    T sum = kAdds ? to[t] : T{0};
    for (std::size_t k = 0; k < C; ++k) sum += by[k] * (here[t] - there[k][t]);
    to[t] = sum;
  }
}

// The same over `count` neighbours, at most C.
template <std::size_t C, bool kAdds, class T>
inline void sum_few(const T* x, std::size_t i, const std::uint32_t* neighbours, const T* weights,
                    std::size_t count, std::size_t d, T* to) {
  if (C == 0 || count == C) return sum_pass<C, kAdds>(x, i, neighbours, weights, d, to);
  if constexpr (C > 0) sum_few<C - 1, kAdds>(x, i, neighbours, weights, count, d, to);
}

template <class T>
void sum_rows(const T* x, const std::uint32_t* starts, const std::uint32_t* neighbours,
              const T* weights, std::size_t n, std::size_t d, T* grad_x) {
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t k = starts[i];
    const std::size_t end = starts[i + 1];
    T* const to = grad_x + i * d;
    const std::size_t first = std::min(kMost, end - k);
    sum_few<kMost, false>(x, i, neighbours + k, weights + k, first, d, to);
    for (k += first; k < end; k += kMost)
      sum_few<kMost, true>(x, i, neighbours + k, weights + k, std::min(kMost, end - k), d, to);
  }
}

}  // namespace tsl::TSL_TARGET::edge_scatter
