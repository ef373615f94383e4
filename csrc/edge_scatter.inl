// Included by edge_scatter.cpp once per instruction set.

#include "lanes.inl"

// Vectors of a row that are summed at once.
constexpr std::size_t kRowVectors = TSL_ISA == 512 ? 4 : TSL_ISA == 2 ? 2 : 1;

// V vectors from t on of sum_k weights[k] * (x_i - x_k).
template <std::size_t V, class T>
inline void sum_row(const T* x, std::size_t i, const Vertex* neighbours, const T* weights,
                    std::size_t count, std::size_t d, std::size_t t, T* to) {
  constexpr std::size_t L = Vector<T>::kLanes;
  Vector<T> here[V];
  Vector<T> sums[V] = {};
  for (std::size_t v = 0; v < V; ++v) here[v] = load(x + i * d + t + v * L);
  for (std::size_t k = 0; k < count; ++k) {
    const T* const there = x + neighbours[k] * d + t;
    for (std::size_t v = 0; v < V; ++v)
      add_product(sums[v], weights[k], here[v] - load(there + v * L));
  }
  for (std::size_t v = 0; v < V; ++v) store(to + t + v * L, sums[v]);
}

template <class T>
void sum_rows(const T* x, const std::uint32_t* starts, const Vertex* neighbours, const T* weights,
              std::size_t n, std::size_t d, T* grad_x) {
  constexpr std::size_t L = Vector<T>::kLanes;
  for (std::size_t i = 0; i < n; ++i) {
    const Vertex* const near = neighbours + starts[i];
    const T* const by = weights + starts[i];
    const std::size_t count = starts[i + 1] - starts[i];
    T* const to = grad_x + i * d;
    std::size_t t = 0;
    for (; t + kRowVectors * L <= d; t += kRowVectors * L)
      sum_row<kRowVectors>(x, i, near, by, count, d, t, to);
    for (; t + L <= d; t += L) sum_row<1>(x, i, near, by, count, d, t, to);
    for (; t < d; ++t) {
      T sum = 0;
      for (std::size_t k = 0; k < count; ++k) sum += by[k] * (x[i * d + t] - x[near[k] * d + t]);
      to[t] = sum;
    }
  }
}
