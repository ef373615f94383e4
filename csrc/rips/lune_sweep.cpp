#include "rips/lune_sweep.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#define TSL_KERNELS "rips/lune_sweep.inl"
#include "platform/foreach_isa.inl"

namespace tsl::rips {

template <class T>
void sweep_lunes(const T* D, std::size_t n, T shortest, T reach, const std::vector<Vertex>& order,
                 SweepMemory<T>& memory, Isa isa, Barcode& h0, Barcode& h1, SweepRecord* record) {
  TSL_DISPATCH(isa, lune_sweep::run_sweep, D, n, shortest, reach, order, memory, h0, h1, record);
}

template void sweep_lunes(const float*, std::size_t, float, float, const std::vector<Vertex>&,
                          SweepMemory<float>&, Isa, Barcode&, Barcode&, SweepRecord*);
template void sweep_lunes(const double*, std::size_t, double, double, const std::vector<Vertex>&,
                          SweepMemory<double>&, Isa, Barcode&, Barcode&, SweepRecord*);

}  // namespace tsl::rips
