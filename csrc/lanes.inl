// Vectors of 64 bytes, for kernels that foreach_isa.inl compiles; included by those.

// A compiler vector wider than a register would be taken apart through memory. All instruction sets sum
// in the same 16 (or 8) lanes, so those with fused multiply-add give the same bits.
template <class T>
struct Vector {
  typedef T Register __attribute__((vector_size(kRegisterBytes)));
  static constexpr std::size_t kLanes = 64 / sizeof(T);
  static constexpr std::size_t kRegisters = 64 / kRegisterBytes;
  Register part[kRegisters];
};

template <class T>
inline Vector<T> operator+(Vector<T> a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) a.part[k] += b.part[k];
  return a;
}

template <class T>
inline Vector<T> operator-(Vector<T> a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) a.part[k] -= b.part[k];
  return a;
}

template <class T>
inline Vector<T> operator*(T factor, Vector<T> a) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) a.part[k] *= factor;
  return a;
}

// sum += a * b, and sum += factor * b.
template <class T>
inline void add_product(Vector<T>& sum, const Vector<T>& a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) sum.part[k] += a.part[k] * b.part[k];
}

template <class T>
inline void add_product(Vector<T>& sum, T factor, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k) sum.part[k] += factor * b.part[k];
}

// The smaller, or larger, number in each lane.
template <class T>
inline Vector<T> least(Vector<T> a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    a.part[k] = b.part[k] < a.part[k] ? b.part[k] : a.part[k];
  return a;
}

template <class T>
inline Vector<T> most(Vector<T> a, const Vector<T>& b) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    a.part[k] = b.part[k] > a.part[k] ? b.part[k] : a.part[k];
  return a;
}

template <class T>
inline Vector<T> load(const T* p) {
  Vector<T> v;
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    std::memcpy(&v.part[k], p + k * (kRegisterBytes / sizeof(T)), kRegisterBytes);
  return v;
}

// The first `count` numbers at p, and zeros behind them.
template <class T>
inline Vector<T> load_part(const T* p, std::size_t count) {
  T padded[Vector<T>::kLanes] = {};
  std::memcpy(padded, p, count * sizeof(T));
  return load(padded);
}

template <class T>
inline void store(T* p, const Vector<T>& v) {
  for (std::size_t k = 0; k < Vector<T>::kRegisters; ++k)
    std::memcpy(p + k * (kRegisterBytes / sizeof(T)), &v.part[k], kRegisterBytes);
}

template <class T>
inline T sum_lanes(const Vector<T>& v) {
  T sums[Vector<T>::kLanes];
  store(sums, v);
  for (std::size_t half = Vector<T>::kLanes / 2; half > 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) sums[l] += sums[l + half];
  return sums[0];
}
