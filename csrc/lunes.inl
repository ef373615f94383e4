// Whether an edge's lune is empty, from the distances alone. Included by lune_sweep.inl.

// Whether one of the first `count` vertices is nearer than `length` to both ends, whose rows are given.
template <class T>
inline bool any_nearer(const T* a, const T* b, std::size_t count, T length) {
  bool any = false;
  for (std::size_t k = 0; k < count; ++k) any |= (a[k] < length) & (b[k] < length);
  return any;
}

// Whether a vertex lies in the lune of ij thanks to the order of equal lengths.
template <class T>
bool lune_holds_tie(const T* a, const T* b, std::size_t n, const FiltrationEdge<T>& ij) {
  std::size_t near = 0;
  for (std::size_t k = 0; k < n; ++k) near += (a[k] <= ij.length) & (b[k] <= ij.length);
  // The edge's own ends are near it; without a third vertex there is nothing to tie.
  if (near <= 2) return false;
  const Vertex i = first(ij.edge);
  const Vertex j = second(ij.edge);
  for (Vertex k = 0; k < n; ++k) {
    if (k == i || k == j) continue;
    const FiltrationEdge<T> ik{a[k], make_edge(i, k)};
    const FiltrationEdge<T> jk{b[k], make_edge(j, k)};
    if (ik < ij && jk < ij) return true;
  }
  return false;
}

template <class T>
bool lune_is_empty(const T* D, std::size_t n, const FiltrationEdge<T>& ij) {
  constexpr std::size_t kBlock = 128 / sizeof(T);
  const T* a = D + first(ij.edge) * n;
  const T* b = D + second(ij.edge) * n;
  std::size_t k = 0;
  for (; k + kBlock <= n; k += kBlock)
    if (any_nearer(a + k, b + k, kBlock, ij.length)) return false;
  return !any_nearer(a + k, b + k, n - k, ij.length) && !lune_holds_tie(a, b, n, ij);
}
