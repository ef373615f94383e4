// The lune of each edge and its components, a warp an edge: all of it follows from the ranks of the
// edges, so no edge waits for another.
#pragma once

#include "cuda/edge_order.hpp"

namespace tsl::cuda {

// What an edge that is not a tree edge has instead of the witness of its annotation.
constexpr u32 kEmptyLune = ~u32{0};

// One relation: the edge, and a vertex of a further component of its lune. `number` counts the
// relations of the edge.
struct Relation {
  u32 edge;
  u32 number_and_vertex;
};

// What the lunes of a batch of clouds are written to.
struct LuneOutput {
  // [B, m]: the vertex of the lune whose later side comes first, or kEmptyLune.
  u32* witness;
  // [B, m]: how many components the lune has beyond the first.
  u32* further;
  // [B, m], in no order: as many as there is room for. [B] counts all.
  Relation* relations;
  u32* relation_count;
};

// kWords words of 32 bits hold a bit for each of the n vertices.
template <u32 kWords>
class Lune {
 public:
  // `ranks` [n, n] are the cloud's.
  TSL_KERNEL_FN Lune(const u32* ranks, u32 n, u32 edge_rank, u32 edge)
      : ranks_(ranks), n_(n), r_(edge_rank), i_(edge >> 16), j_(edge & 0xffff) {}

  TSL_KERNEL_FN void examine(u32 room, u32* witness, u32* further, Relation* relations,
                             u32* relation_count) {
    u32 first = find_vertices();
    if (first == kNoRank) {
      store_one(witness, kEmptyLune);
      store_one(further, 0);
      return;
    }
    u32 count = 0;
    for (;;) {
      const u32 vertex = vertex_of(first);
      if (count == 0)
        store_one(witness, vertex);
      else
        add_relation(count - 1, vertex, room, relations, relation_count);
      ++count;
      if (!flood(vertex)) break;
      first = first_left();
    }
    store_one(further, count - 1);
  }

 private:
  // The later side of each vertex, kNoRank outside of the lune; returns the least.
  TSL_KERNEL_FN u32 find_vertices() {
    Words best = kNoRank;
    rest_ = 0;
    TSL_UNROLL
    for (u32 q = 0; q < kWords; ++q) {
      const Words k = lane_numbers() + q * 32;
      const Mask exists = k < n_;
      const Words later = maximum(rank(i_, k, exists), rank(j_, k, exists));
      const Mask inside = exists & Mask(later < r_);
      later_[q] = select(inside, later, kNoRank);
      rest_ = select(lane_numbers() == q, ballot(inside), rest_);
      best = minimum(best, later_[q]);
    }
    return least(best);
  }

  TSL_KERNEL_FN Words rank(u32 i, Words k, Mask exists) const {
    return load(ranks_, k + i * n_, exists);
  }

  // The vertex whose later side has this rank; no two vertices of a lune have the same.
  TSL_KERNEL_FN u32 vertex_of(u32 rank) const {
    u32 vertex = 0;
    TSL_UNROLL
    for (u32 q = 0; q < kWords; ++q) {
      const u32 hit = ballot(later_[q] == rank);
      if (hit) vertex = q * 32 + lowest_one(hit);
    }
    return vertex;
  }

  // The word of bits that each lane has of the vertices, one vertex set.
  TSL_KERNEL_FN static Words only(u32 vertex) {
    return select(lane_numbers() == vertex / 32, u32{1} << vertex % 32, 0);
  }

  // Takes the component of a vertex out of what is left; returns whether something stays.
  TSL_KERNEL_FN bool flood(u32 vertex) {
    Words front = only(vertex);
    rest_ = rest_ & ~front;
    for (;;) {
      Words near = 0;
      TSL_UNROLL
      for (u32 q = 0; q < kWords; ++q) {
        const Words k = lane_numbers() + q * 32;
        const Mask exists = k < n_;
        const u32 before = ballot(exists & Mask(rank(vertex, k, exists) < r_));
        near = select(lane_numbers() == q, before, near);
      }
      near = near & rest_;
      rest_ = rest_ & ~near;
      if (ballot(rest_ != 0) == 0) return false;
      front = (front & ~only(vertex)) | near;
      const u32 waiting = ballot(front != 0);
      if (waiting == 0) return true;
      const u32 lane = lowest_one(waiting);
      vertex = lane * 32 + lowest_one(from_lane(front, lane));
    }
  }

  // The least later side of the vertices that are left.
  TSL_KERNEL_FN u32 first_left() {
    Words best = kNoRank;
    TSL_UNROLL
    for (u32 q = 0; q < kWords; ++q) {
      const Mask stays = Words(Words(from_lane(rest_, q)) >> lane_numbers() & 1) != 0;
      later_[q] = select(stays, later_[q], kNoRank);
      best = minimum(best, later_[q]);
    }
    return least(best);
  }

  TSL_KERNEL_FN void add_relation(u32 number, u32 vertex, u32 room, Relation* relations,
                                  u32* relation_count) const {
    const u32 at = atomic_add_one(relation_count, 1);
    if (at >= room) return;
    store_one(&relations[at].edge, r_);
    store_one(&relations[at].number_and_vertex, number << 16 | vertex);
  }

  const u32* ranks_;
  u32 n_, r_, i_, j_;
  Words later_[kWords];
  // The vertices of the lune that belong to no component yet: lane q has the bits of those from
  // 32 q on.
  Words rest_;
};

// The lune of one edge of the batch: blocks have as many warps as they have, and each cloud takes
// `blocks_a_cloud` of them. `edges` [B, m], `ranks` [B, n, n] and `kept` [B] are those of
// EdgeOrder.
template <u32 kWords>
TSL_KERNEL_FN void examine_lunes(const Block& block, const u32* edges, const u32* ranks,
                                 const u32* kept, u32 n, u32 blocks_a_cloud,
                                 const LuneOutput& out) {
  const u32 cloud = block.index / blocks_a_cloud;
  const u32 r = block.index % blocks_a_cloud * block.warps + block.warp;
  if (r >= kept[cloud]) return;
  const u32 m = n * (n - 1) / 2;
  const u64 at = u64{cloud} * m;
  Lune<kWords> lune(ranks + u64{cloud} * n * n, n, r, edges[at + r]);
  lune.examine(m, out.witness + at + r, out.further + at + r, out.relations + at,
               out.relation_count + cloud);
}

}  // namespace tsl::cuda
