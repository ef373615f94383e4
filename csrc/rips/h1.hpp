// H1 of a Rips filtration by lune components, with H0 along the way.
//
// An edge with an empty lune joins two components or creates an H1 class. Any other edge adds the
// suspension of its lune to the complex, so it kills, for each further connected component of the
// lune, the class of the 4-cycle through that component and the first.
// Source: Koyama, Memoli, Robins, Turner, "Faster computation of degree-1 persistent homology using
// the reduced Vietoris-Rips filtration", arXiv 2307.16333.
#pragma once

#include <limits>

#include "platform/isa.hpp"
#include "rips/bar.hpp"
#include "rips/extent.hpp"
#include "rips/lune_sweep.hpp"

namespace tsl::rips {

template <class T>
class H1 {
 public:
  // D is a symmetric [n, n] matrix, where edges that are infinite or longer than `limit` are
  // absent; writes both barcodes, zero-length bars of H1 left out, and what a CycleFinder needs to
  // `record`, if there is one.
  void compute(const T* D, std::size_t n, Isa isa, Barcode& h0, Barcode& h1,
               T limit = std::numeric_limits<T>::infinity(), SweepRecord* record = nullptr) {
    h0.clear();
    h1.clear();
    if (record) record->clear();
    if (n == 0) return;
    if (n == 1) {
      h0.essential.push_back(make_edge(0, 0));
      return;
    }
    h0.bars.reserve(n - 1);
    extent_.measure(D, n, isa);
    const T reach = extent_.longest_needed(D, n, limit);
    sweep_lunes(D, n, extent_.shortest(), reach, extent_.from_centre(), memory_, isa, h0, h1,
                record);
  }

 private:
  Extent<T> extent_;
  SweepMemory<T> memory_;
};

}  // namespace tsl::rips
