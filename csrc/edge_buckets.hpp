// Edges spread over buckets of increasing length, each bucket sorted only when it is asked for.
#pragma once

#include <cmath>
#include <vector>

#include "filtration.hpp"
#include "lunes.hpp"

namespace tsl {

template <class T>
class EdgeBuckets {
 public:
  // Takes the edges of length at most `radius`.
  void fill(const PaddedMatrix<T>& D, T radius) {
    const std::size_t n = D.n();
    choose_scale(D, radius);
    starts_.assign(buckets_ + 2, 0);
    for (std::size_t i = 0; i + 1 < n; ++i) {
      const T* row = D.row(i);
      for (std::size_t j = i + 1; j < n; ++j)
        if (row[j] <= radius) ++starts_[bucket_of(row[j]) + 2];
    }
    for (std::size_t b = 2; b < starts_.size(); ++b) starts_[b] += starts_[b - 1];
    edges_.resize(starts_.back());
    for (std::size_t i = 0; i + 1 < n; ++i) {
      const T* row = D.row(i);
      for (std::size_t j = i + 1; j < n; ++j)
        if (row[j] <= radius)
          edges_[starts_[bucket_of(row[j]) + 1]++] = {
              row[j], make_edge(static_cast<Vertex>(i), static_cast<Vertex>(j))};
    }
  }

  std::size_t count() const { return buckets_; }

  // Monotone in the length, so that buckets hold consecutive pieces of the filtration.
  std::size_t bucket_of(T length) const {
    return std::min(buckets_ - 1, static_cast<std::size_t>((length - shortest_) * scale_));
  }

  const FiltrationEdge<T>* begin(std::size_t b) const { return edges_.data() + starts_[b]; }
  const FiltrationEdge<T>* end(std::size_t b) const { return edges_.data() + starts_[b + 1]; }
  void sort(std::size_t b) {
    std::sort(edges_.begin() + static_cast<std::ptrdiff_t>(starts_[b]),
              edges_.begin() + static_cast<std::ptrdiff_t>(starts_[b + 1]));
  }

 private:
  static constexpr std::size_t kEdgesPerBucket = 8;

  void choose_scale(const PaddedMatrix<T>& D, T radius) {
    const std::size_t n = D.n();
    shortest_ = radius;
    for (std::size_t i = 0; i + 1 < n; ++i)
      for (std::size_t j = i + 1; j < n; ++j) shortest_ = std::min(shortest_, D.row(i)[j]);
    buckets_ = n * (n - 1) / 2 / kEdgesPerBucket + 1;
    scale_ = static_cast<T>(buckets_) / (radius - shortest_);
    // All lengths equal, or too close to tell apart: one bucket holds them all.
    if (!std::isfinite(scale_)) {
      buckets_ = 1;
      scale_ = 0;
    }
  }

  std::vector<FiltrationEdge<T>> edges_;
  // While filling, bucket b is written at starts_[b + 1]; afterwards it begins at starts_[b].
  std::vector<std::size_t> starts_;
  std::size_t buckets_ = 1;
  T shortest_ = 0;
  T scale_ = 0;
};

}  // namespace tsl
