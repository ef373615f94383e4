// The bars of H1, one block a cloud: generators and relations in their order, the annotations that
// the relations ask for, and the elimination over Z/2. csrc/README.md has these words.
#pragma once

#include "cuda/lunes.hpp"

namespace tsl::cuda {

// Labels of edges: the vertex of the witness, or one of these.
constexpr u32 kTree = ~u32{0} - 1;
// With the number of the generator in the lower bits.
constexpr u32 kGenerator = u32{1} << 31;

constexpr u32 kNone = ~u32{0};

// Why a cloud has no bars: the bits of its flag.
enum Overflow : u32 {
  kTooManyGenerators = 1,
  kTooManyRelations = 2,
  kTooManyAnnotations = 4,
};

// The sizes of what a cloud may need.
struct Room {
  // Generators, and so bars: a multiple of 32.
  u32 generators;
  // Words of all annotations together.
  u32 annotation_words;
};

// The words of the relations of dead generators, of which the one that kills g has the words 0 to
// g / 32: they begin one behind the other.
TSL_KERNEL_FN u32 relation_begin(u32 g) {
  const u32 q = g / 32;
  return 16 * q * (q + 1) + g % 32 * (q + 1);
}

struct ClassesInput {
  const u32* D;             // [B, n, n], bits
  const u32* edges;         // [B, m]
  const u32* ranks;         // [B, n, n]
  const u32* kept;          // [B]
  const i64* h0_bars;       // [B, n - 1, 4]
  const Relation* listed;   // [B, m]
  const u32* listed_count;  // [B]
};

// Scratch, all of it a cloud's part: a row of [B, ...].
struct ClassesScratch {
  u32* label;            // [B, m], which Lune has written
  u32* further;          // [B, m], which Lune has written; then the first relation of the edge
  u32* relation_edge;    // [B, m]
  u32* relation_vertex;  // [B, m]
  u32* killed;           // [B, m]: the generator that each relation kills
  u32* needed;           // [B, m]: whether an edge's annotation is asked for
  u32* slot;             // [B, m]: which annotation it is
  u32* asked;            // [B, m]: the edges asked for
  u32* known;            // [B, m]: whether the annotation is there
  u32* fresh;            // [B, m]: whether it came in this round
  u32* annotations;      // [B, annotation words]
  u32* born;             // [B, generators]: the edge of each
  u32* dead_rows;        // [B, relation_begin(generators)], if not in shared memory
};

struct ClassesOutput {
  i64* bars;   // [B, generators, 4], -1 behind the last
  u32* count;  // [B]
  u32* flags;  // [B]
};

// kShared: whether the relations of dead generators lie in shared memory.
template <bool kShared>
class Classes {
 public:
  // Words of shared memory that the block needs.
  static constexpr u32 shared_words(u32 warps, u32 generators) {
    const u32 q = generators / 32;
    return kScalars + 2 * 32 + generators + q + warps * q + (kShared ? 16 * q * (q + 1) : 0);
  }

  TSL_KERNEL_FN Classes(const Block& block, u32 n, const Room& room, const ClassesInput& in,
                        const ClassesScratch& scratch, const ClassesOutput& out)
      : block_(block), n_(n), m_(n * (n - 1) / 2), room_(room) {
    const u64 b = block.index, at = b * m_, at_matrix = b * n * n;
    D_ = in.D + at_matrix;
    edges_ = in.edges + at;
    ranks_ = in.ranks + at_matrix;
    kept_ = in.kept[b];
    h0_bars_ = in.h0_bars + b * (n - 1) * 4;
    listed_ = in.listed + at;
    relations_ = in.listed_count[b];
    label_ = scratch.label + at;
    first_relation_ = scratch.further + at;
    relation_edge_ = scratch.relation_edge + at;
    relation_vertex_ = scratch.relation_vertex + at;
    killed_ = scratch.killed + at;
    needed_ = scratch.needed + at;
    slot_ = scratch.slot + at;
    asked_ = scratch.asked + at;
    known_ = scratch.known + at;
    fresh_ = scratch.fresh + at;
    annotations_ = scratch.annotations + b * room.annotation_words;
    born_ = scratch.born + b * room.generators;
    bars_ = out.bars + b * room.generators * 4;
    count_ = out.count + b;
    flags_ = out.flags + b;
    const u32 most_words = room.generators / 32;
    scalars_ = block.shared;
    sums_ = scalars_ + kScalars;
    owner_ = sums_ + 2 * 32;
    dead_ = owner_ + room.generators;
    rows_ = dead_ + most_words;
    if constexpr (kShared)
      dead_rows_ = rows_ + block.warps * most_words;
    else
      dead_rows_ = scratch.dead_rows + b * relation_begin(room.generators);
  }

  TSL_KERNEL_FN void run() {
    label_tree_edges();
    const u32 flag = number_generators_and_relations();
    if (flag) return write_nothing(flag);
    ask_for_annotations();
    if (u64{asked_count_} * words_ > room_.annotation_words)
      return write_nothing(kTooManyAnnotations);
    compute_annotations();
    eliminate();
    write_bars();
  }

 private:
  // Numbers that all warps share, each in a word.
  enum Scalar : u32 { kAsked, kKnown, kDead, kChanged, kChangedToo, kScalars };

  TSL_KERNEL_FN u32 threads() const { return block_.warps * 32; }
  // The first place of this warp in an array that the block goes through together.
  TSL_KERNEL_FN u32 warp_begin() const { return block_.warp * 32; }

  TSL_KERNEL_FN Words rank(Words i, Words j, Mask mask) const {
    return load(ranks_, i * n_ + j, mask);
  }
  TSL_KERNEL_FN u32 rank(u32 i, u32 j) const { return ranks_[i * n_ + j]; }

  // Clears what is counted and marked, and labels the tree edges, whose lunes are empty.
  TSL_KERNEL_FN void label_tree_edges() {
    for (u32 k = warp_begin(); k < kept_; k += threads()) {
      const Words r = lane_numbers() + k;
      store(needed_, r, 0, r < kept_);
      store(known_, r, 0, r < kept_);
      store(fresh_, r, 0, r < kept_);
    }
    for (u32 g = warp_begin(); g < room_.generators; g += threads())
      store(owner_, lane_numbers() + g, kNone, true);
    for (u32 w = warp_begin(); w < room_.generators / 32; w += threads()) {
      const Words at = lane_numbers() + w;
      store(dead_, at, 0, at < room_.generators / 32);
    }
    if (block_.warp == 0) store(scalars_, lane_numbers(), 0, lane_numbers() < kScalars);
    for (u32 k = warp_begin(); k + 1 < n_; k += threads()) {
      const Words at = lane_numbers() + k;
      const Mask inside = at + 1 < n_;
      const Words i = load(h0_bars_, at * 4 + 2, inside), j = load(h0_bars_, at * 4 + 3, inside);
      const Words r = rank(i, j, inside);
      store(label_, r, kTree, inside & Mask(r < kept_));
    }
    block_.sync();
  }

  // The part of `count` things that this warp has when each warp has one, a multiple of 32.
  TSL_KERNEL_FN u32 part(u32 count) const {
    return ((count + 31) / 32 + block_.warps - 1) / block_.warps * 32;
  }

  // Adds up what the warps give: this warp gets the sums of those before it, and the totals. There
  // is a barrier between any two calls.
  TSL_KERNEL_FN void sum_over_warps(u32& a, u32& b, u32& total_a, u32& total_b) {
    store_one(sums_ + block_.warp, a);
    store_one(sums_ + 32 + block_.warp, b);
    block_.sync();
    const Mask exists = lane_numbers() < block_.warps;
    total_a = total_b = 0;
    a = from_lane(sum_before(load(sums_, lane_numbers(), exists), total_a), block_.warp);
    b = from_lane(sum_before(load(sums_ + 32, lane_numbers(), exists), total_b), block_.warp);
  }

  // Numbers the generators and the relations in the order of their edges; returns what overflows.
  TSL_KERNEL_FN u32 number_generators_and_relations() {
    const u32 begin = part(kept_) * block_.warp;
    const u32 end = begin + part(kept_) < kept_ ? begin + part(kept_) : kept_;
    u32 generator = 0, relation = 0;
    for (u32 k = begin; k < end; k += 32) {
      const Words r = lane_numbers() + k;
      generator += ones(ballot(Mask(load(label_, r, r < end) == kEmptyLune)));
      sum_before(load(first_relation_, r, r < end), relation);
    }
    u32 relations = 0;
    sum_over_warps(generator, relation, generators_, relations);
    words_ = (generators_ + 31) / 32;
    if (generators_ > room_.generators) return kTooManyGenerators;
    if (relations_ > m_) return kTooManyRelations;
    for (u32 k = begin; k < end; k += 32) {
      const Words r = lane_numbers() + k;
      const Mask inside = r < end;
      const Mask is_born = load(label_, r, inside) == kEmptyLune;
      const u32 births = ballot(is_born);
      const Words g = ones(lanes_below() & births) + generator;
      store(label_, r, g | kGenerator, is_born);
      store(born_, g, r, is_born);
      generator += ones(births);
      const u32 before = relation;
      const Words sum = sum_before(load(first_relation_, r, inside), relation);
      store(first_relation_, r, sum + before, inside);
    }
    block_.sync();
    for (u32 k = warp_begin(); k < relations_; k += threads()) {
      const Words at = lane_numbers() + k;
      const Mask inside = at < relations_;
      const u32* const words = &listed_->edge;
      const Words r = load(words, at * 2, inside), rest = load(words, at * 2 + 1, inside);
      const Words place = load(first_relation_, r, inside) + (rest >> 16);
      store(relation_edge_, place, r, inside);
      store(relation_vertex_, place, rest & 0xffff, inside);
    }
    block_.sync();
    return 0;
  }

  // Lists the edges whose annotations the relations ask for: the four sides of each, and from then
  // on the two sides of the witness of each edge that was listed last.
  TSL_KERNEL_FN void ask_for_annotations() {
    for (u32 k = warp_begin(); k < relations_; k += threads()) {
      const Words at = lane_numbers() + k;
      const Mask inside = at < relations_;
      const Words r = load(relation_edge_, at, inside);
      const Words other = load(relation_vertex_, at, inside);
      ask_for_sides(r, other, inside);
      ask_for_sides(r, load(label_, r, inside), inside);
    }
    u32 begin = 0;
    for (;;) {
      block_.sync();
      const u32 end = scalars_[kAsked];
      block_.sync();
      asked_count_ = end;
      if (begin == end) return;
      for (u32 k = begin + warp_begin(); k < end; k += threads()) {
        const Words at = lane_numbers() + k;
        const Mask inside = at < end;
        const Words r = load(asked_, at, inside);
        ask_for_sides(r, load(label_, r, inside), inside);
      }
      begin = end;
    }
  }

  TSL_KERNEL_FN void ask_for_sides(Words r, Words vertex, Mask mask) {
    const Words edge = load(edges_, r, mask);
    ask_for(rank(first_of(edge), vertex, mask), mask);
    ask_for(rank(second_of(edge), vertex, mask), mask);
  }

  TSL_KERNEL_FN void ask_for(Words r, Mask mask) {
    const Mask has_witness = mask & Mask(load(label_, r, mask) < kGenerator);
    const Mask first = has_witness & Mask(atomic_exchange(needed_, r, 1, has_witness) == 0);
    const u32 claims = ballot(first);
    if (claims == 0) return;
    const u32 begin = atomic_add_one(scalars_ + kAsked, ones(claims));
    const Words at = ones(lanes_below() & claims) + begin;
    store(asked_, at, r, first);
    store(slot_, r, at, first);
  }

  // In rounds: an edge's annotation is computed once those of the two sides of its witness are
  // there since the round before.
  TSL_KERNEL_FN void compute_annotations() {
    for (;;) {
      if (scalars_[kKnown] == asked_count_) return;
      for (u32 k = warp_begin(); k < asked_count_; k += threads()) {
        const Words s = lane_numbers() + k;
        const Mask waits = Mask(s < asked_count_) & Mask(load(known_, s, s < asked_count_) == 0);
        const Words r = load(asked_, s, waits);
        const Words edge = load(edges_, r, waits);
        const Words witness = load(label_, r, waits);
        const Words a = rank(first_of(edge), witness, waits);
        const Words b = rank(second_of(edge), witness, waits);
        const Mask ready = waits & is_known(a, waits) & is_known(b, waits);
        store(fresh_, s, 1, ready);
        for (u32 left = ballot(ready); left != 0; left &= left - 1) {
          const u32 lane = lowest_one(left);
          const u32 side = from_lane(a, lane), other = from_lane(b, lane);
          for (u32 w = 0; w < words_; w += 32) {
            const Words at = lane_numbers() + w;
            const Words sum = annotation(side, at) ^ annotation(other, at);
            store(annotations_ + (k + lane) * words_, at, sum, at < words_);
          }
        }
      }
      block_.sync();
      u32 found = 0;
      for (u32 k = warp_begin(); k < asked_count_; k += threads()) {
        const Words s = lane_numbers() + k;
        const Mask inside = s < asked_count_;
        const Mask is_new = Mask(load(fresh_, s, inside) != 0) & Mask(load(known_, s, inside) == 0);
        store(known_, s, 1, inside & is_new);
        found += ones(ballot(inside & is_new));
      }
      if (found) atomic_add_one(scalars_ + kKnown, found);
      block_.sync();
    }
  }

  TSL_KERNEL_FN Mask is_known(Words r, Mask mask) const {
    const Mask asked = mask & Mask(load(label_, r, mask) < kGenerator);
    return !asked | Mask(load(known_, load(slot_, r, asked), asked) != 0);
  }

  // Some words of the annotation of an edge.
  TSL_KERNEL_FN Words annotation(u32 r, Words word) const {
    const u32 label = label_[r];
    if (label == kTree) return 0;
    if (label >= kGenerator) {
      const u32 g = label - kGenerator;
      return select(word == g / 32, u32{1} << g % 32, 0);
    }
    return load(annotations_ + slot_[r] * words_, word, word < words_);
  }

  // As many relations at a time as there are warps, each with one. A relation is reduced by those
  // that killed a generator before. Of the relations that are left with the same youngest
  // generator, the first is added to the others, until all have different ones: those die.
  TSL_KERNEL_FN void eliminate() {
    u32* const row = rows_ + block_.warp * words_;
    for (u32 first = 0; first < relations_; first += block_.warps) {
      const u32 q = first + block_.warp;
      if (q < relations_) write_relation(q, row);
      u32 youngest = kNone;
      for (u32 flag = kChanged;; flag = kChanged + kChangedToo - flag) {
        if (q < relations_) youngest = reduce(row);
        if (youngest != kNone) atomic_min_one(owner_ + youngest, q);
        block_.sync();
        if (block_.warp == 0) store_one(scalars_ + (kChanged + kChangedToo - flag), 0);
        if (youngest != kNone && owner_[youngest] != q) {
          add(row, rows_ + (owner_[youngest] - first) * words_, words_);
          atomic_or_one(scalars_ + flag, 1);
        }
        block_.sync();
        if (scalars_[flag] == 0) break;
      }
      if (q < relations_) {
        store_one(killed_ + q, youngest);
        if (youngest != kNone) bury(youngest, row);
      }
      block_.sync();
      if (scalars_[kDead] == generators_) return forget_relations(first + block_.warps);
    }
  }

  TSL_KERNEL_FN void write_relation(u32 q, u32* row) {
    const u32 r = relation_edge_[q], other = relation_vertex_[q], witness = label_[r];
    const u32 i = edges_[r] >> 16, j = edges_[r] & 0xffff;
    for (u32 w = 0; w < words_; w += 32) {
      const Words at = lane_numbers() + w;
      const Words sum = annotation(rank(i, other), at) ^ annotation(rank(j, other), at) ^
                        annotation(rank(i, witness), at) ^ annotation(rank(j, witness), at);
      store(row, at, sum, at < words_);
    }
  }

  // Adds relations of dead generators while the youngest generator is one; returns the youngest
  // that is left. A lane reads and writes the same words throughout.
  TSL_KERNEL_FN u32 reduce(u32* row) {
    for (;;) {
      const u32 g = youngest_of(row);
      if (g == kNone || (dead_[g / 32] >> g % 32 & 1) == 0) return g;
      add(row, dead_rows_ + relation_begin(g), g / 32 + 1);
    }
  }

  TSL_KERNEL_FN u32 youngest_of(const u32* row) const {
    for (u32 w = (words_ - 1) / 32 * 32;; w -= 32) {
      const Words at = lane_numbers() + w;
      const Words bits = load(row, at, at < words_);
      const u32 some = ballot(bits != 0);
      if (some) {
        const u32 lane = highest_one(some);
        return (w + lane) * 32 + highest_one(from_lane(bits, lane));
      }
      if (w == 0) return kNone;
    }
  }

  TSL_KERNEL_FN void add(u32* row, const u32* other, u32 words) {
    for (u32 w = 0; w < words; w += 32) {
      const Words at = lane_numbers() + w;
      store(row, at, load(row, at, at < words) ^ load(other, at, at < words), at < words);
    }
  }

  // The generator dies by this relation.
  TSL_KERNEL_FN void bury(u32 g, const u32* row) {
    u32* const to = dead_rows_ + relation_begin(g);
    for (u32 w = 0; w <= g / 32; w += 32) {
      const Words at = lane_numbers() + w;
      store(to, at, load(row, at, at <= g / 32), at <= g / 32);
    }
    atomic_or_one(dead_ + g / 32, u32{1} << g % 32);
    atomic_add_one(scalars_ + kDead, 1);
  }

  // What comes after the last generator has died.
  TSL_KERNEL_FN void forget_relations(u32 first) {
    if (first < relations_) relations_ = first;
  }

  // Bars in the order of their deaths, and of the births where they die by the same edge: behind
  // all bars of edges before, and behind those of the same edge that were born before.
  TSL_KERNEL_FN void write_bars() {
    const u32 begin = part(relations_) * block_.warp;
    const u32 end = begin + part(relations_) < relations_ ? begin + part(relations_) : relations_;
    u32 before = 0, nothing = 0, total = 0, no_total = 0;
    for (u32 k = begin; k < end; k += 32) {
      const Words q = lane_numbers() + k;
      before += ones(ballot(is_bar(q, q < end)));
    }
    sum_over_warps(before, nothing, total, no_total);
    for (u32 k = begin; k < end; k += 32) {
      const Words q = lane_numbers() + k;
      const Mask inside = q < end;
      const Mask counts = is_bar(q, inside);
      const u32 now = ballot(counts);
      const Words at = ones(lanes_below() & now) + before + places_by_birth(q, counts);
      before += ones(now);
      const Words birth = load(edges_, load(born_, load(killed_, q, counts), counts), counts);
      const Words death = load(edges_, load(relation_edge_, q, counts), counts);
      store(bars_, at * 4, first_of(birth), counts);
      store(bars_, at * 4 + 1, second_of(birth), counts);
      store(bars_, at * 4 + 2, first_of(death), counts);
      store(bars_, at * 4 + 3, second_of(death), counts);
    }
    write_padding(total);
    if (block_.warp == 0) {
      store_one(count_, total);
      store_one(flags_, 0);
    }
  }

  // Whether a relation ends a bar, of a length that is not zero.
  TSL_KERNEL_FN Mask is_bar(Words q, Mask mask) const {
    const Words g = load(killed_, q, mask);
    const Mask kills = mask & Mask(g != kNone);
    const Words birth = length(load(born_, g, kills), kills);
    return kills & Mask(birth < length(load(relation_edge_, q, kills), kills));
  }

  TSL_KERNEL_FN Words length(Words r, Mask mask) const {
    const Words edge = load(edges_, r, mask);
    return load(D_, first_of(edge) * n_ + second_of(edge), mask) & 0x7fffffff;
  }

  // How far the bar of a relation moves among the bars of its edge, in order of birth: behind those
  // after it that were born before, and ahead of those before it that were born after.
  TSL_KERNEL_FN Words places_by_birth(Words q, Mask mask) const {
    const Words edge = load(relation_edge_, q, mask), g = load(killed_, q, mask);
    Words places = 0;
    Mask goes_on = mask;
    for (u32 step = 1; ballot(goes_on) != 0; ++step) {
      goes_on = goes_on & Mask(q >= step);
      goes_on = goes_on & Mask(load(relation_edge_, q - step, goes_on) == edge);
      const Mask ends = is_bar(q - step, goes_on);
      places = places - select(ends & Mask(g < load(killed_, q - step, ends)), 1, 0);
    }
    goes_on = mask;
    for (u32 step = 1; ballot(goes_on) != 0; ++step) {
      goes_on = goes_on & Mask(q + step < relations_);
      goes_on = goes_on & Mask(load(relation_edge_, q + step, goes_on) == edge);
      const Mask ends = is_bar(q + step, goes_on);
      places = places + select(ends & Mask(load(killed_, q + step, ends) < g), 1, 0);
    }
    return places;
  }

  TSL_KERNEL_FN void write_padding(u32 total) {
    for (u32 k = total * 4 + warp_begin(); k < room_.generators * 4; k += threads()) {
      const Words at = lane_numbers() + k;
      store_minus_one(bars_, at, at < room_.generators * 4);
    }
  }

  TSL_KERNEL_FN void write_nothing(u32 flag) {
    write_padding(0);
    if (block_.warp == 0) {
      store_one(count_, 0);
      store_one(flags_, flag);
    }
  }

  Block block_;
  u32 n_, m_;
  Room room_;
  const u32* D_;
  const u32* edges_;
  const u32* ranks_;
  u32 kept_;
  const i64* h0_bars_;
  const Relation* listed_;
  u32 relations_;
  u32* label_;
  u32* first_relation_;
  u32* relation_edge_;
  u32* relation_vertex_;
  u32* killed_;
  u32* needed_;
  u32* slot_;
  u32* asked_;
  u32* known_;
  u32* fresh_;
  u32* annotations_;
  u32* born_;
  i64* bars_;
  u32* count_;
  u32* flags_;
  u32* scalars_;
  u32* sums_;
  // For each generator, the first relation of those at work whose youngest it is.
  u32* owner_;
  // A bit for each generator that has died.
  u32* dead_;
  // The relations at work, one a warp.
  u32* rows_;
  u32* dead_rows_;
  u32 generators_ = 0;
  // Words of a sum of generators.
  u32 words_ = 0;
  u32 asked_count_ = 0;
};

}  // namespace tsl::cuda
