// Vectors of 64 bytes, for kernels that foreach_isa.inl compiles; included by those.

// 64 bytes of T; the compiler splits it where registers are narrower. All instruction sets sum in
// the same 16 (or 8) lanes, so those with fused multiply-add give the same bits.
template <class T>
struct Lanes {
  typedef T Vector __attribute__((vector_size(64)));
  static constexpr std::size_t kCount = 64 / sizeof(T);
};

template <class T>
using Vector = typename Lanes<T>::Vector;

template <class T>
inline Vector<T> load(const T* p) {
  Vector<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The first `count` numbers at p, and zeros behind them.
template <class T>
inline Vector<T> load_part(const T* p, std::size_t count) {
  Vector<T> v = {};
  std::memcpy(&v, p, count * sizeof(T));
  return v;
}

template <class T>
inline void store(T* p, Vector<T> v) {
  std::memcpy(p, &v, sizeof v);
}

template <class T>
inline T sum_lanes(Vector<T> v) {
  T sums[Lanes<T>::kCount];
  store(sums, v);
  for (std::size_t half = Lanes<T>::kCount / 2; half > 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) sums[l] += sums[l + half];
  return sums[0];
}
