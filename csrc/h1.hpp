// H1 of a Rips filtration by lune components, with H0 along the way.
//
// An edge with an empty lune joins two components or creates an H1 class. Any other edge adds the
// suspension of its lune to the complex, so it kills, for each further connected component of the
// lune, the class of the 4-cycle through that component and the first.
// Source: Koyama, Memoli, Robins, Turner, "Faster computation of degree-1 persistent homology using
// the reduced Vietoris-Rips filtration", arXiv 2307.16333.
#pragma once

#include <memory>
#include <vector>

#include "edge_buckets.hpp"
#include "filtration.hpp"
#include "h0.hpp"
#include "isa.hpp"
#include "lunes.hpp"
#include "relations.hpp"
#include "union_find.hpp"

namespace tsl {

// One H1 bar: the edge that closes the loop, and the edge whose lune fills it.
struct H1Bar {
  Edge birth;
  Edge death;
};

template <class T>
class H1 {
 public:
  explicit H1(Isa isa) : isa_(isa) {}

  // D is a symmetric [n, n] matrix; writes both diagrams, zero-length bars of H1 left out.
  void compute(const T* D, std::size_t n, std::vector<H0Bar>& h0, std::vector<H1Bar>& h1);

 private:
  void split_empty_lunes(std::size_t n, std::vector<H0Bar>& h0);

  Isa isa_;
  PaddedMatrix<T> matrix_;
  UnionFind components_;
  std::vector<FiltrationEdge<T>> empty_lunes_;
  std::vector<FiltrationEdge<T>> generators_;
  EdgeBuckets<T> buckets_;
  Relations relations_;
  std::unique_ptr<std::int32_t[]> annotations_;
  std::size_t annotations_size_ = 0;
  std::vector<Edge> pending_;
};

}  // namespace tsl
