#include "geometry/distances.hpp"

#define TSL_KERNELS "geometry/distances.inl"
#include "platform/foreach_isa.inl"

namespace tsl::geometry {

template <class T>
void pairwise_distances(const T* x, std::size_t n, std::size_t d, T* D, Isa isa) {
  TSL_DISPATCH(isa, distances::fill_distances, x, n, d, D);
}

template <class T>
void scatter_differences(const T* x, const T* weights, std::size_t n, std::size_t d, T* grad_x,
                         Isa isa) {
  TSL_DISPATCH(isa, distances::fill_differences, x, weights, n, d, grad_x);
}

template <class T>
void edge_lengths(const T* x, const std::int64_t* edges, std::size_t count, std::size_t d,
                  T* lengths, Isa isa) {
  TSL_DISPATCH(isa, distances::fill_edge_lengths, x, edges, count, d, lengths);
}

#define TSL_INSTANTIATE(T)                                                                  \
  template void pairwise_distances(const T*, std::size_t, std::size_t, T*, Isa);            \
  template void scatter_differences(const T*, const T*, std::size_t, std::size_t, T*, Isa); \
  template void edge_lengths(const T*, const std::int64_t*, std::size_t, std::size_t, T*, Isa);
TSL_INSTANTIATE(float)
TSL_INSTANTIATE(double)

}  // namespace tsl::geometry
