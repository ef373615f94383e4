// H1 of a Rips filtration by lune components, with H0 along the way.
//
// An edge with an empty lune joins two components or creates an H1 class. Any other edge adds the
// suspension of its lune to the complex, so it kills, for each further connected component of the
// lune, the class of the 4-cycle through that component and the first.
// Source: Koyama, Memoli, Robins, Turner, "Faster computation of degree-1 persistent homology using
// the reduced Vietoris-Rips filtration", arXiv 2307.16333.
#pragma once

#include <vector>

#include "platform/isa.hpp"
#include "rips/bar.hpp"
#include "rips/extent.hpp"
#include "rips/lune_sweep.hpp"

namespace tsl::rips {

template <class T>
class H1 {
 public:
  // D is a symmetric [n, n] matrix; writes both diagrams, zero-length bars of H1 left out.
  void compute(const T* D, std::size_t n, Isa isa, std::vector<Bar>& h0, std::vector<Bar>& h1) {
    h0.clear();
    h1.clear();
    if (n < 2) return;
    extent_.measure(D, n, isa);
    const T radius = extent_.enclosing_radius();
    sweep_lunes(D, n, extent_.shortest(), radius, extent_.from_centre(), memory_, isa, h0, h1);
  }

 private:
  Extent<T> extent_;
  SweepMemory<T> memory_;
};

}  // namespace tsl::rips
