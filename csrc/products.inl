// Products of matrices in registers. Included by centred_cloud.cpp once per instruction set.

#include "lanes.inl"

template <class T>
inline void add_row(const T* row, T factor, std::size_t d, T* to) {
  for (std::size_t t = 0; t < d; ++t) to[t] += factor * row[t];
}

template <class T>
inline void subtract_row(const T* row, const T* minus, std::size_t d, T* to) {
  for (std::size_t t = 0; t < d; ++t) to[t] = row[t] - minus[t];
}

// Writes x [n, d] minus the mean of its rows, rows `stride` apart and padded with zeros.
template <class T>
void centre_rows(const T* x, std::size_t n, std::size_t d, std::size_t stride, T* centred) {
  // The last row is written last, so until then it has room for the mean.
  T* const mean = centred + (n - 1) * stride;
  std::fill_n(mean, stride, T{0});
  // Divided before they are summed, for the sum could overflow.
  for (std::size_t i = 0; i < n; ++i) add_row(x + i * d, T{1} / static_cast<T>(n), d, mean);
  for (std::size_t i = 0; i < n; ++i) {
    T* const row = centred + i * stride;
    subtract_row(x + i * d, mean, d, row);
    std::fill(row + d, row + stride, T{0});
  }
}

#if TSL_ISA == 512
constexpr std::size_t kProductTile = 4;
#elif TSL_ISA == 2
constexpr std::size_t kProductTile = 2;
#else
constexpr std::size_t kProductTile = 1;
#endif

template <class T, std::size_t R, std::size_t C>
inline void product_tile(const T* rows, std::size_t n, std::size_t stride, std::size_t i,
                         std::size_t j, T* products) {
  constexpr std::size_t L = Vector<T>::kLanes;
  Vector<T> sums[R * C] = {};
  for (std::size_t t = 0; t < stride; t += L) {
    Vector<T> columns[C];
    for (std::size_t c = 0; c < C; ++c) columns[c] = load(rows + (j + c) * stride + t);
    for (std::size_t r = 0; r < R; ++r) {
      const Vector<T> row = load(rows + (i + r) * stride + t);
      for (std::size_t c = 0; c < C; ++c) add_product(sums[r * C + c], row, columns[c]);
    }
  }
  T tile[R * C];
  sum_lanes_of(sums, tile);
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t c = 0; c < C; ++c) products[(i + r) * n + j + c] = tile[r * C + c];
}

// The inner products of rows, [n, n], where i <= j; below the diagonal some are written, some not.
template <class T>
void fill_products(const T* rows, std::size_t n, std::size_t stride, T* products) {
  const std::size_t whole = n / kProductTile * kProductTile;
  for (std::size_t i = 0; i < whole; i += kProductTile) {
    for (std::size_t j = i; j < whole; j += kProductTile)
      product_tile<T, kProductTile, kProductTile>(rows, n, stride, i, j, products);
    for (std::size_t j = whole; j < n; ++j)
      product_tile<T, kProductTile, 1>(rows, n, stride, i, j, products);
  }
  for (std::size_t i = whole; i < n; ++i)
    for (std::size_t j = i; j < n; ++j) product_tile<T, 1, 1>(rows, n, stride, i, j, products);
}

// Vectors of a row that one pass over the points sums in registers, and rows that share the pass.
#if TSL_ISA == 512
constexpr std::size_t kPassVectors = 4;
constexpr std::size_t kPassRows = 6;
#elif TSL_ISA == 2
constexpr std::size_t kPassVectors = 1;
constexpr std::size_t kPassRows = 6;
#else
constexpr std::size_t kPassVectors = 1;
constexpr std::size_t kPassRows = 2;
#endif

// Adds R rows from i of matrix * rows, of which kPassVectors or fewer vectors from t on are in question.
template <std::size_t R, std::size_t V, class T>
inline void multiply_rows(const T* matrix, const T* rows, std::size_t n, std::size_t d,
                          std::size_t stride, std::size_t i, std::size_t t, T* out) {
  constexpr std::size_t L = Vector<T>::kLanes;
  const auto width = [=](std::size_t v) { return std::min(L, d - std::min(d, t + v * L)); };
  Vector<T> sums[R][V];
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t v = 0; v < V; ++v)
      sums[r][v] = load_part(out + (i + r) * d + t + v * L, width(v));
  for (std::size_t j = 0; j < n; ++j) {
    Vector<T> row[V];
    for (std::size_t v = 0; v < V; ++v) row[v] = load(rows + j * stride + t + v * L);
    for (std::size_t r = 0; r < R; ++r)
      for (std::size_t v = 0; v < V; ++v)
        add_product(sums[r][v], matrix[(i + r) * n + j], row[v]);
  }
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t v = 0; v < V; ++v)
      store_part(out + (i + r) * d + t + v * L, sums[r][v], width(v));
}

// The rows from i to the last, R at the most.
template <std::size_t R, std::size_t V, class T>
inline void multiply_last(const T* matrix, const T* rows, std::size_t n, std::size_t d,
                          std::size_t stride, std::size_t i, std::size_t t, T* out) {
  if constexpr (R > 0) {
    if (n - i == R) return multiply_rows<R, V>(matrix, rows, n, d, stride, i, t, out);
    multiply_last<R - 1, V>(matrix, rows, n, d, stride, i, t, out);
  }
}

template <std::size_t V, class T>
void multiply_pass(const T* matrix, const T* rows, std::size_t n, std::size_t d, std::size_t stride,
                   std::size_t t, T* out) {
  std::size_t i = 0;
  for (; i + kPassRows <= n; i += kPassRows)
    multiply_rows<kPassRows, V>(matrix, rows, n, d, stride, i, t, out);
  multiply_last<kPassRows - 1, V>(matrix, rows, n, d, stride, i, t, out);
}

// out [n, d] += matrix [n, n] * rows, which stand `stride` apart.
template <class T>
void multiply(const T* matrix, const T* rows, std::size_t n, std::size_t d, std::size_t stride,
              T* out) {
  constexpr std::size_t L = Vector<T>::kLanes;
  std::size_t t = 0;
  for (; t + kPassVectors * L <= stride; t += kPassVectors * L)
    multiply_pass<kPassVectors>(matrix, rows, n, d, stride, t, out);
  for (; t < d; t += L) multiply_pass<1>(matrix, rows, n, d, stride, t, out);
}
