#include "lunes.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tsl {
namespace {

// Whether a vertex k lies in the lune of ij thanks to the order of equal lengths.
template <class T>
bool lune_holds_tie(const PaddedMatrix<T>& D, Vertex i, Vertex j) {
  const T* a = D.row(i);
  const T* b = D.row(j);
  const FiltrationEdge<T> ij{a[j], make_edge(i, j)};
  for (Vertex k = 0; k < D.n(); ++k) {
    if (a[k] > ij.length || b[k] > ij.length || k == i || k == j) continue;
    const FiltrationEdge<T> ik{a[k], make_edge(i, k)};
    const FiltrationEdge<T> jk{b[k], make_edge(j, k)};
    if (ik < ij && jk < ij) return true;
  }
  return false;
}

}  // namespace
}  // namespace tsl

#define TSL_KERNELS "lunes.inl"
#include "foreach_isa.inl"

namespace tsl {

template <class T>
void edges_with_empty_lune(const PaddedMatrix<T>& D, T radius, Isa isa,
                           std::vector<FiltrationEdge<T>>& edges) {
  edges.clear();
  TSL_DISPATCH(isa, collect_empty_lunes, D, radius, edges);
  std::sort(edges.begin(), edges.end());
}

template void edges_with_empty_lune(const PaddedMatrix<float>&, float, Isa,
                                    std::vector<FiltrationEdge<float>>&);
template void edges_with_empty_lune(const PaddedMatrix<double>&, double, Isa,
                                    std::vector<FiltrationEdge<double>>&);

}  // namespace tsl
