#include "rips/lune_sweep.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#define TSL_KERNELS "rips/lune_sweep.inl"
#include "platform/foreach_isa.inl"

namespace tsl::rips {

template <class T>
void sweep_lunes(const T* D, std::size_t n, T shortest, T radius, const std::vector<Vertex>& order,
                 SweepMemory<T>& memory, Isa isa, std::vector<Bar>& h0, std::vector<Bar>& h1) {
  TSL_DISPATCH(isa, lune_sweep::run_sweep, D, n, shortest, radius, order, memory, h0, h1);
}

template void sweep_lunes(const float*, std::size_t, float, float, const std::vector<Vertex>&,
                          SweepMemory<float>&, Isa, std::vector<Bar>&, std::vector<Bar>&);
template void sweep_lunes(const double*, std::size_t, double, double, const std::vector<Vertex>&,
                          SweepMemory<double>&, Isa, std::vector<Bar>&, std::vector<Bar>&);

}  // namespace tsl::rips
