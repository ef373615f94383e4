// Included by lunes.cpp once per instruction set.

// Whether a[k] < length and b[k] < length for one of the lanes k.
#if TSL_ISA == 512
inline bool any_below(const float* a, const float* b, float length) {
  const __m512 bound = _mm512_set1_ps(length);
  const __mmask16 near_a = _mm512_cmp_ps_mask(_mm512_loadu_ps(a), bound, _CMP_LT_OQ);
  return _mm512_mask_cmp_ps_mask(near_a, _mm512_loadu_ps(b), bound, _CMP_LT_OQ) != 0;
}
inline bool any_below(const double* a, const double* b, double length) {
  const __m512d bound = _mm512_set1_pd(length);
  const __mmask8 near_a = _mm512_cmp_pd_mask(_mm512_loadu_pd(a), bound, _CMP_LT_OQ);
  return _mm512_mask_cmp_pd_mask(near_a, _mm512_loadu_pd(b), bound, _CMP_LT_OQ) != 0;
}
#elif TSL_ISA == 2
inline bool any_below(const float* a, const float* b, float length) {
  const __m256 bound = _mm256_set1_ps(length);
  const __m256 low = _mm256_max_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b));
  const __m256 high = _mm256_max_ps(_mm256_loadu_ps(a + 8), _mm256_loadu_ps(b + 8));
  return _mm256_movemask_ps(_mm256_cmp_ps(_mm256_min_ps(low, high), bound, _CMP_LT_OQ)) != 0;
}
inline bool any_below(const double* a, const double* b, double length) {
  const __m256d bound = _mm256_set1_pd(length);
  const __m256d low = _mm256_max_pd(_mm256_loadu_pd(a), _mm256_loadu_pd(b));
  const __m256d high = _mm256_max_pd(_mm256_loadu_pd(a + 4), _mm256_loadu_pd(b + 4));
  return _mm256_movemask_pd(_mm256_cmp_pd(_mm256_min_pd(low, high), bound, _CMP_LT_OQ)) != 0;
}
#else
template <class T>
inline bool any_below(const T* a, const T* b, T length) {
  bool any = false;
  for (std::size_t k = 0; k < PaddedMatrix<T>::kLanes; ++k)
    any |= (a[k] < length) & (b[k] < length);
  return any;
}
#endif

template <class T>
bool has_strictly_nearer_vertex(const T* a, const T* b, std::size_t stride, T length) {
  for (std::size_t k = 0; k < stride; k += PaddedMatrix<T>::kLanes)
    if (any_below(a + k, b + k, length)) return true;
  return false;
}

template <class T>
void collect_empty_lunes(const PaddedMatrix<T>& D, T radius,
                         std::vector<FiltrationEdge<T>>& edges) {
  const std::size_t n = D.n();
  for (std::size_t i = 0; i + 1 < n; ++i) {
    const T* row = D.row(i);
    for (std::size_t j = i + 1; j < n; ++j) {
      const T length = row[j];
      if (length > radius || has_strictly_nearer_vertex(row, D.row(j), D.stride(), length)) continue;
      if (!lune_holds_tie(D, static_cast<Vertex>(i), static_cast<Vertex>(j)))
        edges.push_back({length, make_edge(static_cast<Vertex>(i), static_cast<Vertex>(j))});
    }
  }
}
