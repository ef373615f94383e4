// Edges spread over buckets of increasing length, each bucket sorted only when it is asked for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "filtration.hpp"

namespace tsl {

template <class T>
class EdgeBuckets {
 public:
  // Takes the edges of length at most `radius`; none is shorter than `shortest`.
  void fill(const T* D, std::size_t n, T shortest, T radius) {
    choose_scale(n, shortest, radius);
    // Longer edges are counted in a last bucket; nobody asks for it, so one place holds them all.
    const auto beyond = static_cast<std::int32_t>(buckets_);
    starts_.assign(buckets_ + 3, 0);
    row_.resize(n);
    for (std::size_t i = 0; i + 1 < n; ++i) {
      find_buckets(D + i * n, i + 1, n);
      for (std::size_t j = i + 1; j < n; ++j) ++starts_[static_cast<std::size_t>(row_[j]) + 2];
    }
    for (std::size_t b = 2; b < buckets_ + 2; ++b) starts_[b] += starts_[b - 1];
    edges_.resize(starts_[buckets_ + 1] + 1);
    for (std::size_t i = 0; i + 1 < n; ++i) {
      const T* row = D + i * n;
      find_buckets(row, i + 1, n);
      for (std::size_t j = i + 1; j < n; ++j) {
        std::uint32_t& next = starts_[static_cast<std::size_t>(row_[j]) + 1];
        edges_[next] = {row[j], make_edge(static_cast<Vertex>(i), static_cast<Vertex>(j))};
        next += row_[j] != beyond;
      }
    }
  }

  std::size_t count() const { return buckets_; }

  const FiltrationEdge<T>* begin(std::size_t b) const { return edges_.data() + starts_[b]; }
  const FiltrationEdge<T>* end(std::size_t b) const { return edges_.data() + starts_[b + 1]; }
  void sort(std::size_t b) { std::sort(edges_.data() + starts_[b], edges_.data() + starts_[b + 1]); }

 private:
  static constexpr std::size_t kEdgesPerBucket = 8;
  // Up to here a float holds every bucket's number.
  static constexpr std::size_t kMostBuckets = std::size_t{1} << 22;

  void choose_scale(std::size_t n, T shortest, T radius) {
    shortest_ = shortest;
    radius_ = radius;
    buckets_ = std::min(kMostBuckets, n * (n - 1) / 2 / kEdgesPerBucket + 1);
    scale_ = static_cast<T>(buckets_) / (radius - shortest);
    // All lengths equal, or too close to tell apart: one bucket holds them all.
    if (!std::isfinite(scale_)) {
      buckets_ = 1;
      scale_ = 0;
    }
  }

  // The bucket is monotone in the length, so that buckets hold consecutive pieces of the filtration.
  void find_buckets(const T* row, std::size_t from, std::size_t to) {
    const T last = static_cast<T>(buckets_ - 1);
    const auto beyond = static_cast<std::int32_t>(buckets_);
    for (std::size_t j = from; j < to; ++j) {
      const T place = (row[j] - shortest_) * scale_;
      const auto bucket = static_cast<std::int32_t>(place < last ? place : last);
      row_[j] = row[j] <= radius_ ? bucket : beyond;
    }
  }

  std::vector<FiltrationEdge<T>> edges_;
  // While filling, bucket b is written at starts_[b + 1]; afterwards it begins at starts_[b].
  std::vector<std::uint32_t> starts_;
  // The buckets of one row's edges.
  std::vector<std::int32_t> row_;
  std::size_t buckets_ = 1;
  T shortest_ = 0;
  T radius_ = 0;
  T scale_ = 0;
};

}  // namespace tsl
