#include "h1.hpp"

#include "lune_sweep.hpp"

namespace tsl {
namespace {

template <class T, int W>
void sweep(std::size_t n, const std::vector<FiltrationEdge<T>>& generators, EdgeBuckets<T>& buckets,
           Relations& relations, std::int32_t* annotations, std::vector<Edge>& pending,
           std::vector<H1Bar>& bars) {
  LuneSweep<T, W>(n, generators, buckets, relations, annotations, pending, bars).run();
}

}  // namespace

// Of the edges with an empty lune, those that join components make H0; the rest create H1 classes.
template <class T>
void H1<T>::split_empty_lunes(std::size_t n, std::vector<H0Bar>& h0) {
  components_.reset(n);
  generators_.clear();
  for (const FiltrationEdge<T>& e : empty_lunes_) {
    Vertex died = 0;
    if (components_.unite(first(e.edge), second(e.edge), died))
      h0.push_back({died, e.edge});
    else
      generators_.push_back(e);
  }
}

template <class T>
void H1<T>::compute(const T* D, std::size_t n, std::vector<H0Bar>& h0, std::vector<H1Bar>& h1) {
  h0.clear();
  h1.clear();
  if (n < 2) return;
  const T radius = enclosing_radius(D, n);
  matrix_.assign(D, n);
  edges_with_empty_lune(matrix_, radius, isa_, empty_lunes_);
  split_empty_lunes(n, h0);
  if (generators_.empty()) return;

  buckets_.fill(matrix_, radius);
  if (annotations_size_ < n * n) {
    // Left uninitialised: an edge's annotation is written before it is read.
    annotations_.reset(new std::int32_t[n * n]);
    annotations_size_ = n * n;
  }
  auto* const run = n <= 64    ? sweep<T, 1>
                    : n <= 128 ? sweep<T, 2>
                    : n <= 256 ? sweep<T, 4>
                    : n <= 512 ? sweep<T, 8>
                               : sweep<T, 0>;
  run(n, generators_, buckets_, relations_, annotations_.get(), pending_, h1);
}

template class H1<float>;
template class H1<double>;

}  // namespace tsl
