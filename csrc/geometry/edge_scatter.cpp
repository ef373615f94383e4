#include "geometry/edge_scatter.hpp"

#include <algorithm>
#include <cstring>

#define TSL_KERNELS "geometry/edge_scatter.inl"
#include "platform/foreach_isa.inl"

namespace tsl::geometry {

template <class T>
void EdgeScatter<T>::write(const T* x, std::size_t n, std::size_t d, T* grad_x, Isa isa) {
  // While filling, the neighbours of v are written at starts_[v + 1]; afterwards they begin at
  // starts_[v].
  starts_.assign(n + 2, 0);
  for (const WeightedEdge& e : edges_) {
    ++starts_[e.i + 2];
    ++starts_[e.j + 2];
  }
  for (std::size_t v = 2; v < n + 2; ++v) starts_[v] += starts_[v - 1];
  neighbours_.resize(2 * edges_.size());
  weights_.resize(2 * edges_.size());
  const auto append = [this](std::uint32_t v, std::uint32_t neighbour, T weight) {
    const std::uint32_t at = starts_[v + 1]++;
    neighbours_[at] = neighbour;
    weights_[at] = weight;
  };
  for (const WeightedEdge& e : edges_) {
    append(e.i, e.j, e.weight);
    append(e.j, e.i, e.weight);
  }
  TSL_DISPATCH(isa, edge_scatter::sum_rows, x, starts_.data(), neighbours_.data(), weights_.data(),
               n, d, grad_x);
}

template class EdgeScatter<float>;
template class EdgeScatter<double>;

}  // namespace tsl::geometry
