// Whether an edge's lune is empty, from the distances alone. Included by lune_sweep.inl.

// Vertices between two looks at whether one was found: a cache line of distances, or two.
template <class T>
constexpr std::size_t kLuneBlock = 128 / sizeof(T);

// Whether one of kBlock vertices is nearer than `length` to both ends, whose rows are given.
template <class T>
inline bool any_nearer(const T* a, const T* b, T length) {
  constexpr std::size_t kLanes = kRegisterBytes / sizeof(T);
  typedef T Register __attribute__((vector_size(kRegisterBytes)));
  auto near = Register{} < Register{};
  for (std::size_t k = 0; k < kLuneBlock<T>; k += kLanes) {
    Register to_a, to_b;
    std::memcpy(&to_a, a + k, sizeof to_a);
    std::memcpy(&to_b, b + k, sizeof to_b);
    near |= (to_a < length) & (to_b < length);
  }
  return any_bit((typename BitsOf<kRegisterBytes>::type)near);
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
    if (filtration_edge(a[k], make_edge(i, k)) < ij && filtration_edge(b[k], make_edge(j, k)) < ij)
      return true;
  }
  return false;
}

template <class T>
bool lune_is_empty(const T* D, std::size_t n, const FiltrationEdge<T>& ij) {
  const T* a = D + first(ij.edge) * n;
  const T* b = D + second(ij.edge) * n;
  std::size_t k = 0;
  for (; k + kLuneBlock<T> <= n; k += kLuneBlock<T>)
    if (any_nearer(a + k, b + k, ij.length)) return false;
  for (; k < n; ++k)
    if (a[k] < ij.length && b[k] < ij.length) return false;
  return !lune_holds_tie(a, b, n, ij);
}
