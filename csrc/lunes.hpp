// Edges with an empty lune: the relative neighbourhood graph of a cloud, under the total order.
#pragma once

#include <vector>

#include "filtration.hpp"
#include "isa.hpp"

namespace tsl {

// Rows of a distance matrix padded with infinity to whole vectors, so that scans have no tail.
template <class T>
class PaddedMatrix {
 public:
  static constexpr std::size_t kLanes = 64 / sizeof(T);

  void assign(const T* D, std::size_t n) {
    n_ = n;
    stride_ = (n + kLanes - 1) / kLanes * kLanes;
    values_.resize(n * stride_);
    for (std::size_t i = 0; i < n; ++i) {
      T* row = values_.data() + i * stride_;
      std::copy(D + i * n, D + (i + 1) * n, row);
      std::fill(row + n, row + stride_, std::numeric_limits<T>::infinity());
    }
  }

  const T* row(std::size_t i) const { return values_.data() + i * stride_; }
  const T* data() const { return values_.data(); }
  std::size_t n() const { return n_; }
  std::size_t stride() const { return stride_; }

 private:
  std::vector<T> values_;
  std::size_t n_ = 0;
  std::size_t stride_ = 0;
};

// All edges up to `radius` with an empty lune, in filtration order.
template <class T>
void edges_with_empty_lune(const PaddedMatrix<T>& D, T radius, Isa isa,
                           std::vector<FiltrationEdge<T>>& edges);

}  // namespace tsl
