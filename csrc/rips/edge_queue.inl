// Edges in filtration order, a bucket at a time. Included by lune_sweep.inl.
#if defined(TSL_EDGE_QUEUE_INL) == defined(TSL_TARGET_TOGGLE)
#ifdef TSL_EDGE_QUEUE_INL
#undef TSL_EDGE_QUEUE_INL
#else
#define TSL_EDGE_QUEUE_INL
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "platform/intrinsics.hpp"
#include "platform/stop.hpp"
#include "rips/edge_queue.hpp"
#include "rips/filtration.hpp"

namespace tsl::TSL_TARGET::edge_queue {

using namespace rips;

// Appends the pairs (i, j), j >= from, of a row of distances with lo <= length < hi; returns the
// new count. There must be room for all of them and 16 more.
template <class T>
inline std::size_t collect_row(const T* row, std::size_t i, std::size_t from, std::size_t n, T lo,
                               T hi, T* lengths, Edge* edges, std::size_t count) {
  const Edge first_vertex = static_cast<Edge>(i) << 16;
  for (std::size_t j = from; j < n; ++j) {
    const T length = row[j];
    // Adding 0 turns -0 into +0, as filtration_edge() does.
    lengths[count] = length + T{0};
    edges[count] = first_vertex | static_cast<Edge>(j);
    count += (length >= lo) & (length < hi);
  }
  return count;
}

#if TSL_ISA == 2
// For each mask of 8 bits: the numbers of the bits that are set, in order, one byte each.
struct PackedLanes {
  std::uint64_t of[256];
  constexpr PackedLanes() : of() {
    for (unsigned set = 0; set < 256; ++set)
      for (std::uint64_t lane = 0, place = 0; lane < 8; ++lane)
        if (set >> lane & 1) of[set] |= lane << (8 * place++);
  }
};
constexpr PackedLanes kPackedLanes;

inline std::size_t collect_row(const float* row, std::size_t i, std::size_t from, std::size_t n,
                               float lo, float hi, float* lengths, Edge* edges, std::size_t count) {
  const __m256 least = _mm256_set1_ps(lo);
  const __m256 most = _mm256_set1_ps(hi);
  const __m256i step = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const Edge first_vertex = static_cast<Edge>(i) << 16;
  std::size_t j = from;
  for (; j + 8 <= n; j += 8) {
    const __m256 v = _mm256_add_ps(_mm256_loadu_ps(row + j), _mm256_setzero_ps());
    const auto within = static_cast<unsigned>(_mm256_movemask_ps(
        _mm256_and_ps(_mm256_cmp_ps(v, least, _CMP_GE_OQ), _mm256_cmp_ps(v, most, _CMP_LT_OQ))));
    const __m256i codes = _mm256_add_epi32(
        _mm256_set1_epi32(static_cast<int>(first_vertex | static_cast<Edge>(j))), step);
    const __m256i lanes =
        _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(kPackedLanes.of[within])));
    _mm256_storeu_ps(lengths + count, _mm256_permutevar8x32_ps(v, lanes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(edges + count),
                        _mm256_permutevar8x32_epi32(codes, lanes));
    count += static_cast<std::size_t>(__builtin_popcount(within));
  }
  return collect_row<float>(row, i, j, n, lo, hi, lengths, edges, count);
}
#endif

#if TSL_ISA == 512
// Compresses in registers and then stores, because one instruction for both is slow on some
// processors.
inline std::size_t collect_row(const float* row, std::size_t i, std::size_t from, std::size_t n,
                               float lo, float hi, float* lengths, Edge* edges, std::size_t count) {
  const __m512 least = _mm512_set1_ps(lo);
  const __m512 most = _mm512_set1_ps(hi);
  const __m512i step = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const Edge first_vertex = static_cast<Edge>(i) << 16;
  for (std::size_t j = from; j < n; j += 16) {
    const __mmask16 there = n - j < 16 ? static_cast<__mmask16>((1u << (n - j)) - 1) : 0xffff;
    const __m512 v = _mm512_add_ps(_mm512_maskz_loadu_ps(there, row + j), _mm512_setzero_ps());
    const __mmask16 within = _mm512_mask_cmp_ps_mask(
        _mm512_mask_cmp_ps_mask(there, v, least, _CMP_GE_OQ), v, most, _CMP_LT_OQ);
    const __m512i codes = _mm512_add_epi32(
        _mm512_set1_epi32(static_cast<int>(first_vertex | static_cast<Edge>(j))), step);
    _mm512_storeu_ps(lengths + count, _mm512_maskz_compress_ps(within, v));
    _mm512_storeu_si512(edges + count, _mm512_maskz_compress_epi32(within, codes));
    count += static_cast<std::size_t>(__builtin_popcount(within));
  }
  return count;
}
#endif

// Sorts a few edges by insertion.
template <class T>
inline void sort_few(FiltrationEdge<T>* begin, FiltrationEdge<T>* end) {
  for (auto* at = begin + 1; at < end; ++at) {
    const FiltrationEdge<T> moved = *at;
    auto* to = at;
    for (; to > begin && moved < to[-1]; --to) *to = to[-1];
    *to = moved;
  }
}

#if TSL_ISA >= 2
// Sorts `count` edges, at most kMost, by counting for each how many come before it, so that no
// branch depends on the lengths. Always reads kMost edges from `begin`.
template <std::size_t kMost>
inline void sort_by_rank(FiltrationEdge<float>* begin, std::size_t count) {
  // On a little-endian machine the bytes of an edge and its length, read as one number of 64 bits,
  // are never negative and in filtration order.
  typedef std::int64_t Keys __attribute__((vector_size(kRegisterBytes)));
  constexpr std::size_t kVectors = kMost * sizeof(std::int64_t) / kRegisterBytes;
  Keys keys[kVectors];
  Keys ranks[kVectors] = {};
  std::memcpy(keys, begin, sizeof keys);
  std::int64_t key[kMost];
  std::memcpy(key, keys, sizeof key);
  for (std::size_t k = 0; k < count; ++k)
    for (std::size_t v = 0; v < kVectors; ++v) ranks[v] -= (Keys{} + key[k]) < keys[v];
  std::int64_t rank[kMost];
  std::memcpy(rank, ranks, sizeof rank);
  for (std::size_t k = 0; k < count; ++k) std::memcpy(begin + rank[k], key + k, sizeof *key);
}

inline void sort_few(FiltrationEdge<float>* begin, FiltrationEdge<float>* end) {
  const auto count = static_cast<std::size_t>(end - begin);
  if (count == 1) return;
  if (count <= 8) return sort_by_rank<8>(begin, count);
  if (count <= 16) return sort_by_rank<16>(begin, count);
  sort_few<float>(begin, end);
}
#endif

// Edges up to a given length, in filtration order. They are collected in tiers of growing
// length, spread over buckets, and sorted only in the bucket that is asked for: most are never.
template <class T>
class EdgeQueue {
 public:
  using Item = FiltrationEdge<T>;

  // The matrix D [n, n] has no edge shorter than `shortest`; those longer than `reach` are left
  // out.
  EdgeQueue(const T* D, std::size_t n, T shortest, T reach, EdgeMemory<T>& memory)
      : D_(D),
        n_(n),
        end_(std::nextafter(reach, std::numeric_limits<T>::infinity())),
        memory_(memory),
        hi_(shortest) {
    choose_tiers();
  }

  // Sorts the next edges; false when there are no more.
  bool next() {
    for (;;) {
      while (bucket_ < buckets_) {
        begin_ = memory_.spread.data() + memory_.starts[bucket_];
        last_ = memory_.spread.data() + memory_.starts[++bucket_];
        if (begin_ == last_) continue;
        sort(begin_, last_, 0);
        return true;
      }
      if (!collect_tier()) return false;
    }
  }

  const Item* begin() const { return begin_; }
  const Item* end() const { return last_; }

  // Visits all edges shorter than `length` that next() has not given yet, in any order, and drops
  // them.
  template <class Visit>
  void skip_shorter(T length, Visit visit) {
    std::size_t to = buckets_;
    if (length < hi_) to = std::min(to, bucket_of(length, lo_, scale_, buckets_));
    if (to > bucket_) {
      const Item* const end = memory_.spread.data() + memory_.starts[to];
      for (const Item* e = memory_.spread.data() + memory_.starts[bucket_]; e != end; ++e)
        visit(e->edge);
      bucket_ = to;
    }
    if (length < hi_) return;
    const std::size_t count = collect(hi_, length);
    for (std::size_t k = 0; k < count; ++k) visit(memory_.edges[k]);
    hi_ = length;
    buckets_ = bucket_ = 0;
  }

 private:
  static constexpr std::size_t kEdgesPerBucket = 6;
  static constexpr std::size_t kInsertion = 24;
  static constexpr unsigned kMostSpreads = 3;
  // A float holds every whole number up to here without rounding.
  static constexpr std::size_t kMostBuckets = std::size_t{1} << 22;
  // Clouds of at most so many edges have one tier.
  static constexpr std::size_t kOneTier = 2048;
  static constexpr std::size_t kSample = 64;

  // Tiers end at these quantiles of a sample of the lengths, and at the reach.
  void choose_tiers() {
    if (n_ * (n_ - 1) / 2 <= kOneTier) return;
    std::vector<T>& sample = memory_.sample;
    sample.clear();
    // Odd, because an even step would miss columns where n is a power of two.
    const std::size_t step = n_ * n_ / kSample | 1;
    for (std::size_t at = step / 2; at < n_ * n_; at += step)
      if (at % (n_ + 1) != 0) sample.push_back(D_[at]);
    std::sort(sample.begin(), sample.end(), [](T a, T b) { return a < b; });
    for (const std::size_t divisor : {8u, 4u, 2u})
      tiers_[tier_count_++] = sample[sample.size() / divisor];
  }

  T next_tier_end() {
    while (tier_ < tier_count_ && !(tiers_[tier_] > hi_)) ++tier_;
    return tier_ < tier_count_ ? std::min(tiers_[tier_], end_) : end_;
  }

  bool collect_tier() {
    while (hi_ < end_) {
      lo_ = hi_;
      hi_ = next_tier_end();
      const std::size_t count = collect(lo_, hi_);
      if (count == 0) continue;
      spread_tier(count);
      return true;
    }
    return false;
  }

  std::size_t collect(T lo, T hi) {
    std::size_t count = 0;
    Checkpoint checkpoint(64);
    for (std::size_t i = 0; i + 1 < n_; ++i) {
      checkpoint.pass();
      const std::size_t room = count + n_ - i + 16;
      if (memory_.lengths.size() < room) {
        const std::size_t more = std::max(room, 2 * memory_.lengths.size());
        memory_.lengths.resize(more);
        memory_.edges.resize(more);
      }
      count = collect_row(D_ + i * n_, i, i + 1, n_, lo, hi, memory_.lengths.data(),
                          memory_.edges.data(), count);
    }
    return count;
  }

  // The bucket of each length. A longer edge never gets an earlier bucket, so buckets hold
  // consecutive pieces of the filtration.
  static void find_buckets(const T* lengths, std::size_t count, T lo, T scale, std::size_t buckets,
                           std::int32_t* found) {
    const T last = static_cast<T>(buckets - 1);
    for (std::size_t k = 0; k < count; ++k) {
      const T place = (lengths[k] - lo) * scale;
      found[k] = static_cast<std::int32_t>(place < last ? place : last);
    }
  }

  static std::size_t bucket_of(T length, T lo, T scale, std::size_t buckets) {
    std::int32_t found = 0;
    find_buckets(&length, 1, lo, scale, buckets, &found);
    return static_cast<std::size_t>(found);
  }

  // False where the lengths are equal, or so close that the scale overflows: one bucket holds them.
  static bool choose_scale(T lo, T hi, std::size_t& buckets, T& scale) {
    scale = static_cast<T>(buckets) / (hi - lo);
    if (std::isfinite(scale)) return true;
    buckets = 1;
    scale = 0;
    return false;
  }

  // Calls act(k, bucket) for each of the lengths, in their order.
  template <class Act>
  static void for_each_bucket(const T* lengths, std::size_t count, T lo, T scale,
                              std::size_t buckets, Act act) {
    constexpr std::size_t kBlock = 64;
    std::int32_t found[kBlock];
    Checkpoint checkpoint(1024);
    for (std::size_t k = 0; k < count; k += kBlock) {
      checkpoint.pass();
      const std::size_t size = std::min(kBlock, count - k);
      find_buckets(lengths + k, size, lo, scale, buckets, found);
      for (std::size_t u = 0; u < size; ++u) act(k + u, static_cast<std::size_t>(found[u]));
    }
  }

  void spread_tier(std::size_t count) {
    buckets_ = std::min(kMostBuckets, count / kEdgesPerBucket + 1);
    choose_scale(lo_, hi_, buckets_, scale_);
    bucket_ = 0;
    // While spreading, bucket b is written at starts[b + 1]; afterwards it begins at starts[b].
    memory_.starts.assign(buckets_ + 2, 0);
    std::uint32_t* const starts = memory_.starts.data();
    const T* lengths = memory_.lengths.data();
    const Edge* edges = memory_.edges.data();
    for_each_bucket(lengths, count, lo_, scale_, buckets_,
                    [&](std::size_t, std::size_t b) { ++starts[b + 2]; });
    for (std::size_t b = 2; b < buckets_ + 2; ++b) starts[b] += starts[b - 1];
    // sort_by_rank() reads up to 16 edges from the begin of a bucket, however few it holds.
    if (memory_.spread.size() < count + 16) memory_.spread.resize(memory_.lengths.size() + 16);
    Item* const spread = memory_.spread.data();
    for_each_bucket(lengths, count, lo_, scale_, buckets_, [&](std::size_t k, std::size_t b) {
      spread[starts[b + 1]++] = {edges[k], lengths[k]};
    });
  }

  // Sorts one bucket. A bucket of many edges is first spread over buckets of its own.
  void sort(Item* begin, Item* end, unsigned spreads) {
    const auto count = static_cast<std::size_t>(end - begin);
    if (count <= kInsertion) return sort_few(begin, end);
    T lo = begin->length;
    T hi = lo;
    for (const Item* e = begin; e != end; ++e) {
      lo = std::min(lo, e->length);
      hi = std::max(hi, e->length);
    }
    // Edges of one length are in order already: they were collected by (i, j), and spreading keeps
    // the order of equals.
    if (lo == hi) return;
    std::size_t buckets = count / kEdgesPerBucket + 1;
    T scale;
    if (spreads == kMostSpreads || !choose_scale(lo, hi, buckets, scale)) {
      std::sort(begin, end);
      return;
    }
    spread_again(begin, count, lo, scale, buckets);
    for (Item* from = begin; from != end;) {
      const std::size_t b = bucket_of(from->length, lo, scale, buckets);
      Item* to = from + 1;
      while (to != end && bucket_of(to->length, lo, scale, buckets) == b) ++to;
      if (to - from > 1) sort(from, to, spreads + 1);
      from = to;
    }
  }

  void spread_again(Item* items, std::size_t count, T lo, T scale, std::size_t buckets) {
    memory_.resort.assign(items, items + count);
    std::vector<std::uint32_t> starts(buckets + 1, 0);
    for (const Item& e : memory_.resort) ++starts[bucket_of(e.length, lo, scale, buckets) + 1];
    for (std::size_t b = 1; b <= buckets; ++b) starts[b] += starts[b - 1];
    for (const Item& e : memory_.resort)
      items[starts[bucket_of(e.length, lo, scale, buckets)]++] = e;
  }

  const T* D_;
  std::size_t n_;
  // Edges that are as long or longer are left out.
  T end_;
  EdgeMemory<T>& memory_;
  T tiers_[3] = {};
  std::size_t tier_count_ = 0;
  std::size_t tier_ = 0;
  // The tier at hand holds lo_ <= length < hi_.
  T lo_ = 0;
  T hi_;
  T scale_ = 0;
  std::size_t buckets_ = 0;
  std::size_t bucket_ = 0;
  Item* begin_ = nullptr;
  Item* last_ = nullptr;
};

}  // namespace tsl::TSL_TARGET::edge_queue

#endif
