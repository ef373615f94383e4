// The edges of a cloud in the order of the filtration, one block a cloud: a radix sort, stable, of
// the edges by (i, j), by the bits of their lengths.
#pragma once

#include "cuda/lanes.hpp"

namespace tsl::cuda {

// An edge packs both vertices, i < j: i << 16 | j.
TSL_KERNEL_FN Words first_of(Words edge) { return edge >> 16; }
TSL_KERNEL_FN Words second_of(Words edge) { return edge & 0xffff; }

// The rank of what is no edge: behind all others.
constexpr u32 kNoRank = ~u32{0};

class EdgeOrder {
 public:
  static constexpr u32 kDigits = 256;

  // Words of shared memory that the block needs.
  static constexpr u32 shared_words(u32 warps) { return warps * kDigits + kDigits + 8 + 3; }

  // D [B, n, n] is symmetric, and of its bits the sign does not count. Writes the edges [B, m] in
  // order, m = n (n - 1) / 2, and the ranks [B, n, n] of both (i, j) and (j, i); `kept` [B], how
  // many edges are no longer than the enclosing radius, beyond which nothing changes and the order
  // is by (i, j) alone; and 0 to `relations` [B]. `spare` [B, m] is scratch.
  TSL_KERNEL_FN EdgeOrder(const Block& block, const u32* D, u32 n, u32* edges, u32* spare,
                          u32* ranks, u32* kept, u32* relations)
      : block_(block),
        n_(n),
        m_(n * (n - 1) / 2),
        D_(D + u64{block.index} * n * n),
        edges_(edges + u64{block.index} * m_),
        spare_(spare + u64{block.index} * m_),
        ranks_(ranks + u64{block.index} * n * n),
        kept_(kept + block.index),
        relations_(relations + block.index),
        smaller_(block.shared + block.warps * kDigits),
        group_totals_(smaller_ + kDigits),
        radius_(group_totals_ + 8),
        shortest_(radius_ + 1),
        count_(shortest_ + 1) {}

  TSL_KERNEL_FN void run() {
    if (block_.warp == 0) {
      store_one(radius_, kNoRank);
      store_one(shortest_, kNoRank);
      store_one(count_, 0);
      store_one(relations_, 0);
    }
    block_.sync();
    list_edges();
    block_.sync();
    u32 *from = edges_, *to = spare_;
    const u32 greatest_key = *radius_ + 1 - *shortest_;
    for (u32 shift = 0; shift < 32 && greatest_key >> shift != 0; shift += 8) {
      sort_by_digit(from, to, shift);
      u32* const sorted = to;
      to = from;
      from = sorted;
    }
    write_ranks(from);
    block_.sync();
    if (block_.warp == 0) store_one(kept_, *count_);
  }

 private:
  // The bits of lengths that are not negative are in the order of the lengths, NaN last.
  TSL_KERNEL_FN Words length(Words i, Words j, Mask mask) const {
    return load(D_, i * n_ + j, mask) & 0x7fffffff;
  }

  // The edges by (i, j), the shortest length, and the enclosing radius: the least of the rows'
  // greatest lengths.
  TSL_KERNEL_FN void list_edges() {
    for (u32 i = block_.warp; i < n_; i += block_.warps) {
      const u32 begin = i * (2 * n_ - i - 1) / 2;
      u32 longest = 0;
      Words shortest = kNoRank;
      for (u32 start = 0; start < n_; start += 32) {
        const Words j = lane_numbers() + start;
        const Words row = length(i, j, j < n_);
        const Mask later = Mask(j >= i + 1) & Mask(j < n_);
        const u32 most = greatest(row);
        longest = longest < most ? most : longest;
        shortest = minimum(shortest, select(later, row, kNoRank));
        store(edges_, j + (begin - i - 1), j | i << 16, later);
        store(ranks_, i * n_ + j, kNoRank, j == i);
      }
      atomic_min_one(radius_, longest);
      atomic_min_one(shortest_, least(shortest));
    }
  }

  // Each warp has a part of the edges, and counts of the digits in it, from which follow the
  // places of its edges: behind all smaller digits, and behind the same digits of warps before it.
  TSL_KERNEL_FN void sort_by_digit(const u32* from, u32* to, u32 shift) {
    u32* const counts = block_.shared + block_.warp * kDigits;
    for (u32 d = 0; d < kDigits; d += 32) store(counts, lane_numbers() + d, 0, true);
    sync_warp();
    for (u32 t = begin(); t < end(); t += 32) {
      const Mask inside = lane_numbers() + t < end();
      atomic_count(counts, digit(load(from, lane_numbers() + t, inside), shift, inside), inside);
    }
    block_.sync();
    sum_counts();
    block_.sync();
    u32 all = 0;
    const Words smaller_groups =
        sum_before(load(group_totals_, lane_numbers(), lane_numbers() < 8), all);
    for (u32 t = begin(); t < end(); t += 32) {
      const Mask inside = lane_numbers() + t < end();
      const Words edge = load(from, lane_numbers() + t, inside);
      const Words d = digit(edge, shift, inside);
      const Words peers = lanes_with_digit(d, inside);
      const Words before = ones(peers & lanes_below());
      const Words at = load(counts, d, inside) + before;
      store(to, at + load(smaller_, d, inside) + from_lanes(smaller_groups, d / 32), edge, inside);
      sync_warp();
      store(counts, d, at + ones(peers), Mask(before == 0) & inside);
      sync_warp();
    }
    block_.sync();
  }

  // The edges of this warp, a multiple of 32 but for the last.
  TSL_KERNEL_FN u32 part() const { return ((m_ + 31) / 32 + block_.warps - 1) / block_.warps * 32; }
  TSL_KERNEL_FN u32 begin() const { return block_.warp * part(); }
  TSL_KERNEL_FN u32 end() const {
    const u32 last = begin() + part();
    return last < m_ ? last : m_;
  }

  // Eight bits of how much longer an edge is than the shortest, and the longest kept at most.
  TSL_KERNEL_FN Words digit(Words edge, u32 shift, Mask inside) const {
    const Words longer = length(first_of(edge), second_of(edge), inside) - *shortest_;
    return minimum(longer, *radius_ + 1 - *shortest_) >> shift & (kDigits - 1);
  }

  // Replaces the counts of each warp by those of the warps before it. A group of 32 digits is a
  // warp's, which sums up those of smaller digits in the group.
  TSL_KERNEL_FN void sum_counts() {
    for (u32 group = block_.warp; group < kDigits / 32; group += block_.warps) {
      const Words d = lane_numbers() + group * 32;
      Words sum = 0;
      for (u32 w = 0; w < block_.warps; ++w) {
        u32* const counts = block_.shared + w * kDigits;
        const Words count = load(counts, d);
        store(counts, d, sum, true);
        sum = sum + count;
      }
      u32 total = 0;
      store(smaller_, d, sum_before(sum, total), true);
      store_one(group_totals_ + group, total);
    }
  }

  // For each lane, the lanes with its digit.
  TSL_KERNEL_FN Words lanes_with_digit(Words d, Mask inside) const {
    Words peers = ballot(inside);
    for (u32 bit = 0; bit < 8; ++bit) {
      const Mask has = Words(d >> bit & 1) != 0;
      const u32 votes = ballot(has);
      peers = peers & select(has, votes, ~votes);
    }
    return peers;
  }

  TSL_KERNEL_FN void write_ranks(const u32* sorted) {
    u32 kept = 0;
    for (u32 t = begin(); t < end(); t += 32) {
      const Words r = lane_numbers() + t;
      const Mask inside = r < end();
      const Words edge = load(sorted, r, inside);
      const Words i = first_of(edge), j = second_of(edge);
      kept += ones(ballot(Mask(length(i, j, inside) <= *radius_) & inside));
      store(edges_, r, edge, inside);
      store(ranks_, i * n_ + j, r, inside);
      store(ranks_, j * n_ + i, r, inside);
    }
    atomic_add_one(count_, kept);
  }

  const Block& block_;
  u32 n_, m_;
  const u32* D_;
  u32* edges_;
  u32* spare_;
  u32* ranks_;
  u32* kept_;
  u32* relations_;
  // For each digit, how many edges have a smaller one of the same group of 32.
  u32* smaller_;
  // Of each group, how many edges have its digits.
  u32* group_totals_;
  u32* radius_;
  u32* shortest_;
  u32* count_;
};

}  // namespace tsl::cuda
