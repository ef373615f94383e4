// The elder rule where vertices are born one after the other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "rips/bar.hpp"
#include "rips/filtration.hpp"
#include "rips/union_find.hpp"

namespace tsl::rips {

// The barcode of H0 has the edges that join components, in filtration order. Here each bar gets the
// vertex that dies on its edge: of the eldest vertices of both components the younger. Of vertices
// that are born together, the one of the smaller number is the elder.
template <class T>
class ElderRule {
 public:
  // Classes that never die are listed in order of birth; a vertex born after `limit` is absent.
  void apply(const T* births, std::size_t n, T limit, Barcode& h0) {
    by_age_.resize(n);
    std::iota(by_age_.begin(), by_age_.end(), Vertex{0});
    std::stable_sort(by_age_.begin(), by_age_.end(),
                     [&](Vertex a, Vertex b) { return births[a] < births[b]; });
    place_.resize(n);
    for (std::size_t k = 0; k < n; ++k) place_[by_age_[k]] = static_cast<Vertex>(k);

    // Among places, the smallest of a component is its eldest.
    components_.reset(n);
    for (Bar& bar : h0.bars) {
      Vertex died = 0;
      components_.unite(place_[first(bar.death)], place_[second(bar.death)], died);
      bar.birth = make_edge(by_age_[died], by_age_[died]);
    }
    components_.list_roots(n, h0.essential);
    for (Edge& root : h0.essential) root = make_edge(by_age_[first(root)], by_age_[first(root)]);
    const auto is_absent = [&](Edge root) { return births[first(root)] > limit; };
    h0.essential.erase(std::remove_if(h0.essential.begin(), h0.essential.end(), is_absent),
                       h0.essential.end());
  }

 private:
  std::vector<Vertex> by_age_;
  std::vector<Vertex> place_;
  UnionFind components_;
};

}  // namespace tsl::rips
