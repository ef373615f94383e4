#include "rips/h0.hpp"

#include <algorithm>

#define TSL_KERNELS "rips/prim.inl"
#include "platform/foreach_isa.inl"

namespace tsl::rips {

// Prim's algorithm. The filtration order has no ties, so there is one minimum spanning tree.
template <class T>
void H0<T>::grow_tree(const T* D, std::size_t n, Isa isa) {
  // Vectors are of 64 bytes, and the last one may stand out.
  const std::size_t most = n + 64 / sizeof(T) - 1;
  length_.resize(most);
  nearest_.resize(most);
  tree_.resize(n - 1);
  TSL_DISPATCH(isa, prim::grow_tree, D, n, length_.data(), nearest_.data(), tree_.data());
}

template <class T>
void H0<T>::compute(const T* D, std::size_t n, Isa isa, Barcode& h0, T limit) {
  h0.clear();
  if (n == 0) return;
  h0.essential.push_back(make_edge(0, 0));
  if (n == 1) return;
  grow_tree(D, n, isa);
  std::sort(tree_.begin(), tree_.end());
  components_.reset(n);
  h0.bars.reserve(n - 1);
  for (const FiltrationEdge<T>& e : tree_) {
    if (e.length > limit || e.length == std::numeric_limits<T>::infinity()) break;
    Vertex died = 0;
    components_.unite(first(e.edge), second(e.edge), died);
    h0.bars.push_back({make_edge(died, died), e.edge});
  }
  // The tree of all edges holds a spanning tree of each component of the shorter ones.
  if (h0.bars.size() + 1 < n) components_.list_roots(n, h0.essential);
}

template class H0<float>;
template class H0<double>;

}  // namespace tsl::rips
