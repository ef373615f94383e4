#include "rips/h0.hpp"

#include "platform/stop.hpp"

namespace tsl::rips {

// Prim's algorithm. The filtration order has no ties, so there is one minimum spanning tree.
template <class T>
void H0<T>::grow_tree(const T* D, std::size_t n) {
  tree_.clear();
  outside_.resize(n - 1);
  length_.assign(D + 1, D + n);
  nearest_.assign(n - 1, 0);
  for (std::size_t v = 1; v < n; ++v) outside_[v - 1] = static_cast<Vertex>(v);

  T shortest = *std::min_element(length_.begin(), length_.end());
  Checkpoint checkpoint(64);
  for (std::size_t count = n - 1; count > 0; --count) {
    checkpoint.pass();
    const std::size_t at = nearest_outside(count, shortest);
    const Vertex added = outside_[at];
    tree_.push_back(filtration_edge(length_[at], make_edge(added, nearest_[at])));

    outside_[at] = outside_[count - 1];
    length_[at] = length_[count - 1];
    nearest_[at] = nearest_[count - 1];

    const T* row = D + added * n;
    shortest = std::numeric_limits<T>::infinity();
    for (std::size_t s = 0; s + 1 < count; ++s) {
      const T candidate = row[outside_[s]];
      // Of two edges of equal length at one vertex, the one to the smaller neighbour comes first.
      const bool closer =
          candidate < length_[s] || (candidate == length_[s] && added < nearest_[s]);
      length_[s] = closer ? candidate : length_[s];
      nearest_[s] = closer ? added : nearest_[s];
      shortest = std::min(shortest, length_[s]);
    }
  }
}

template <class T>
std::size_t H0<T>::nearest_outside(std::size_t count, T shortest) const {
  std::size_t best = count;
  for (std::size_t s = 0; s < count; ++s) {
    if (length_[s] != shortest) continue;
    if (best == count ||
        make_edge(outside_[s], nearest_[s]) < make_edge(outside_[best], nearest_[best]))
      best = s;
  }
  // A matrix that nobody checked may hold NaN; then no length equals the shortest, and any vertex
  // will do.
  return best < count ? best : 0;
}

template <class T>
void H0<T>::compute(const T* D, std::size_t n, Barcode& h0, T limit) {
  h0.clear();
  if (n == 0) return;
  h0.essential.push_back(make_edge(0, 0));
  if (n == 1) return;
  grow_tree(D, n);
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
