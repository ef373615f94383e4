// Included by lune_sweep.cpp once per instruction set.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "rips/bit_rows.inl"
#include "rips/edge_queue.inl"
#include "rips/lune_sweep.hpp"
#include "rips/lunes.inl"
#include "rips/relations.inl"

namespace tsl::TSL_TARGET::lune_sweep {

using namespace bit_rows;
using namespace rips;
using edge_queue::EdgeQueue;
using lunes::any_nearer_than;
using relations::Relations;

// Every edge carries an annotation: a sum of generators, such that the annotations around a
// triangle of the complex cancel. Zero annotations are bits of `zero`; others are stored vectors of
// `relations`, or a witness: a vertex k of the edge's lune whose two sides sum to it.
//
// Lengths and edges, which the order of the filtration compares, name vertices as the caller does.
// Bits and annotations number them from the centre of the cloud outwards, so that the lowest vertex
// of a lune tends to be one that reaches most others.
//
// W is the number of words in a row of vertex bits, or 0 where only run time knows it.
template <class T, std::size_t W>
class LuneSweep {
 public:
  LuneSweep(const T* D, std::size_t n, T shortest, T radius, const std::vector<Vertex>& order,
            SweepMemory<T>& memory, std::vector<H0Bar>& h0, std::vector<H1Bar>& h1)
      : D_(D),
        n_(n),
        width_(W ? W : (words_for(n) + 7) / 8 * 8),
        radius_(radius),
        order_(order),
        queue_(D, n, shortest, radius, memory.edges),
        memory_(memory),
        relations_(memory.relations),
        generators_(memory.generators),
        h0_(h0),
        h1_(h1) {
    memory.adjacent.assign(n * width(), 0);
    memory.zero.assign(n * width(), 0);
    memory.rest.resize(width());
    memory.frontier.resize(width());
    memory.rank.resize(n);
    for (std::size_t r = 0; r < n; ++r) memory.rank[order[r]] = static_cast<Vertex>(r);
    const std::size_t pairs = n * (n - 1) / 2;
    if (memory.annotations_size < pairs) {
      memory.annotations.reset(new std::int32_t[pairs]);
      memory.annotations_size = pairs;
    }
    memory.components.reset(n);
    generators_.clear();
    adjacent_ = memory.adjacent.data();
    zero_ = memory.zero.data();
    rank_ = memory.rank.data();
    annotations_ = memory.annotations.get();
    for (Vertex v = 0; v < n; ++v) set_bit(adjacent_, v, v);
    next_listing_ = 2 * n;
  }

  void run() {
    while (queue_.next()) {
      if (relations_.alive() == 0 && !skip_to_next_empty_lune()) return;
      for (const auto* e = queue_.begin(); e != queue_.end(); ++e) add_edge(*e);
      swept_ += static_cast<std::size_t>(queue_.end() - queue_.begin());
    }
  }

 private:
  using Layout = RowLayout<W>;
  using Bits = typename Layout::Bits;
  static constexpr std::size_t kWords = Layout::kWords;

  // A row in registers, or in memory where its length is known at run time alone.
  struct FixedRow {
    Bits part[W ? Layout::kCount : 1];
    FixedRow(Word*) {}
    Bits& operator[](std::size_t k) { return part[k]; }
  };
  struct MemoryRow {
    Bits* parts;
    MemoryRow(Word* memory) : parts(reinterpret_cast<Bits*>(memory)) {}
    Bits& operator[](std::size_t k) { return parts[k]; }
  };
  using Row = std::conditional_t<W != 0, FixedRow, MemoryRow>;

  std::size_t width() const { return W ? W : width_; }
  std::size_t parts() const { return width() / kWords; }
  const Word* neighbours(std::size_t v) const { return adjacent_ + v * width(); }
  static Bits part(const Word* row, std::size_t k) { return load_bits<Bits>(row + k * kWords); }

  void add_edge(const FiltrationEdge<T>& e) {
    const Vertex i = rank_[first(e.edge)];
    const Vertex j = rank_[second(e.edge)];
    if (relations_.alive() != 0)
      fill_lune(e, i, j);
    else if (have_common_neighbour(i, j))
      connect_zero(i, j);
    else
      add_empty_lune(e, i, j);
  }

  // An edge with an empty lune joins two components, or creates an H1 class.
  void add_empty_lune(const FiltrationEdge<T>& e, Vertex i, Vertex j) {
    Vertex died = 0;
    if (h0_.size() + 1 < n_ && memory_.components.unite(first(e.edge), second(e.edge), died)) {
      h0_.push_back({died, e.edge});
      // A tree edge: nothing to sum over, so it can carry zero.
      connect_zero(i, j);
    } else {
      annotations_[slot(i, j)] = static_cast<std::int32_t>(relations_.give_birth());
      generators_.push_back(e);
      ++born_;
      connect(adjacent_, i, j);
    }
  }

  bool have_common_neighbour(Vertex i, Vertex j) const {
    const Word* a = neighbours(i);
    const Word* b = neighbours(j);
    Bits common{};
    for (std::size_t k = 0; k < parts(); ++k) common |= part(a, k) & part(b, k);
    return any_bit(common);
  }

  void set_bit(Word* rows, Vertex row, Vertex bit) const {
    rows[row * width() + bit / 64] |= Word{1} << (bit % 64);
  }

  void connect(Word* rows, Vertex i, Vertex j) const {
    set_bit(rows, i, j);
    set_bit(rows, j, i);
  }

  void connect_zero(Vertex i, Vertex j) {
    connect(adjacent_, i, j);
    connect(zero_, i, j);
  }

  bool is_zero(Vertex i, Vertex j) const { return zero_[i * width() + j / 64] >> (j % 64) & 1; }

  // Where nothing is alive, only an edge with an empty lune changes that. Once few pairs can be
  // such edges they are listed, the edges before the next of them are added without order, and
  // false is returned when there is none.
  bool skip_to_next_empty_lune() {
    if (!knows_empty_lunes_ && (swept_ < next_listing_ || !list_empty_lunes())) return true;
    const auto& empty = memory_.empty_lunes;
    while (next_empty_ < empty.size() && empty[next_empty_] < *queue_.begin()) ++next_empty_;
    if (next_empty_ == empty.size()) return false;
    const T length = empty[next_empty_].length;
    if (length > queue_.end()[-1].length) {
      const auto add = [this](Edge e) { connect_zero(rank_[first(e)], rank_[second(e)]); };
      for (const auto* e = queue_.begin(); e != queue_.end(); ++e) add(e->edge);
      queue_.skip_shorter(length, add);
      // The edge itself is still to come.
      queue_.next();
    }
    return true;
  }

  // Lists all edges with an empty lune that were not swept yet, and perhaps some whose lune ties
  // alone fill: a stop too many costs little. Returns false where the list would take longer than
  // to sweep on.
  bool list_empty_lunes() {
    next_listing_ = 2 * swept_;
    const std::size_t to_come = n_ * (n_ - 1) / 2 - swept_;
    if (find_open_pairs() > to_come / kEdgesPerLook) return false;
    memory_.empty_lunes.clear();
    for (Vertex i = 0; i < n_; ++i)
      for (std::size_t w = i / 64; w < words_for(n_); ++w)
        for (Word left = memory_.open[i * width() + w]; left; left &= left - 1)
          append_if_empty(i, static_cast<Vertex>(w * 64 + lowest_bit(left)));
    std::sort(memory_.empty_lunes.begin(), memory_.empty_lunes.end());
    knows_empty_lunes_ = true;
    return true;
  }

  void append_if_empty(Vertex i, Vertex j) {
    if (have_common_neighbour(i, j)) return;
    const Vertex a = order_[i];
    const Vertex b = order_[j];
    const auto e = filtration_edge(D_[a * n_ + b], make_edge(a, b));
    if (e.length <= radius_ && !any_nearer_than(D_, n_, e)) memory_.empty_lunes.push_back(e);
  }

  // Marks the pairs that may have an empty lune, and returns how many they are.
  std::size_t find_open_pairs() {
    memory_.open.resize(n_ * width());
    std::size_t count = 0;
    for (Vertex i = 0; i < n_; ++i) {
      Word* const open = memory_.open.data() + i * width();
      find_open(i, open);
      for (std::size_t w = i / 64; w < words_for(n_); ++w)
        count += static_cast<std::size_t>(__builtin_popcountll(open[w]));
    }
    return count;
  }

  // The vertices after i that neither i nor its most central neighbours have as a neighbour.
  void find_open(Vertex i, Word* open) const {
    const Word* const row = neighbours(i);
    for (std::size_t w = i / 64; w < words_for(n_); ++w) open[w] = ~row[w] & vertices_after(i, w);
    std::size_t asked = 0;
    for (std::size_t w = 0; w < words_for(n_); ++w)
      for (Word left = row[w]; left; left &= left - 1) {
        const Word* const more = neighbours(w * 64 + lowest_bit(left));
        Word any = 0;
        for (std::size_t u = i / 64; u < words_for(n_); ++u) any |= open[u] &= ~more[u];
        if (!any || ++asked == kAsked) return;
      }
  }

  // The vertices of word w that come after v.
  Word vertices_after(Vertex v, std::size_t w) const {
    const std::size_t past = n_ - w * 64;
    const Word end = past >= 64 ? ~Word{0} : (Word{1} << past) - 1;
    return w == v / 64 ? end & (~Word{1} << (v % 64)) : end;
  }

  // The lune's vertices whose two sides are annotated zero agree already: they count as one
  // component, whatever the graph says.
  void fill_lune(const FiltrationEdge<T>& e, Vertex i, Vertex j) {
    Row rest(memory_.rest.data());
    Row frontier(memory_.frontier.data());
    const Word* adjacent_i = neighbours(i);
    const Word* adjacent_j = neighbours(j);
    const Word* zero_i = zero_ + i * width();
    const Word* zero_j = zero_ + j * width();

    Bits any_rest{};
    Bits any_zero{};
    for (std::size_t k = 0; k < parts(); ++k) {
      const Bits zero = part(zero_i, k) & part(zero_j, k);
      const Bits other = part(adjacent_i, k) & part(adjacent_j, k) & ~zero;
      rest[k] = other;
      frontier[k] = zero;
      any_rest |= other;
      any_zero |= zero;
    }
    if (!any_bit(any_rest | any_zero)) return add_empty_lune(e, i, j);

    const bool has_zero = any_bit(any_zero);
    const Vertex v = has_zero ? lowest(frontier) : lowest(rest);
    // Most often one vertex is a neighbour of all others.
    Bits left{};
    for (std::size_t k = 0; k < parts(); ++k) left |= rest[k] & ~part(neighbours(v), k);
    if (any_bit(left)) split_lune(e, i, j, rest, frontier, has_zero, v);

    if (has_zero || relations_.alive() == 0) {
      connect_zero(i, j);
    } else {
      connect(adjacent_, i, j);
      annotations_[slot(i, j)] = -1 - static_cast<std::int32_t>(v);
    }
  }

  // Kills what the lune's components but the first, that of v, make equal.
  [[gnu::noinline]] void split_lune(const FiltrationEdge<T>& e, Vertex i, Vertex j, Row& rest,
                                    Row& frontier, bool has_zero, Vertex v) {
    if (!has_zero) {
      flip(rest, v);
      flip(frontier, v);
    }
    if (flood(rest, frontier)) kill_differences(e, i, j, rest, frontier, has_zero, v);
  }

  // The lowest vertex of a row that is not empty.
  Vertex lowest(Row& row) const {
    std::size_t k = 0;
    while (k + 1 < parts() && !any_bit(row[k])) ++k;
    return static_cast<Vertex>(k * kWords * 64 + lowest_of(row[k]));
  }

  static void flip(Row& row, Vertex v) {
    constexpr std::size_t kBits = kWords * 64;
    for (std::size_t k = 0; k < (W ? Layout::kCount : 0); ++k)
      row[k] = row[k] ^ (k == v / kBits ? only_bit(v % kBits, Bits{}) : Bits{});
    if (W == 0) row[v / kBits] = row[v / kBits] ^ only_bit(v % kBits, Bits{});
  }

  // Takes everything that `frontier`, which is not empty, reaches out of `rest`; returns whether
  // something stays.
  bool flood(Row& rest, Row& frontier) const {
    for (;;) {
      const Vertex v = lowest(frontier);
      const Word* near = neighbours(v);
      Bits left{};
      for (std::size_t k = 0; k < parts(); ++k) {
        const Bits unreached = rest[k] & ~part(near, k);
        frontier[k] = frontier[k] | (rest[k] & part(near, k));
        rest[k] = unreached;
        left |= unreached;
      }
      if (!any_bit(left)) return false;
      flip(frontier, v);
      Bits waiting{};
      for (std::size_t k = 0; k < parts(); ++k) waiting |= frontier[k];
      if (!any_bit(waiting)) return true;
    }
  }

  // One relation for each further component of the lune.
  void kill_differences(const FiltrationEdge<T>& e, Vertex i, Vertex j, Row& rest, Row& frontier,
                        bool first_is_zero, Vertex witness) {
    bool more = true;
    while (more && relations_.alive() != 0) {
      for (std::size_t k = 0; k < parts(); ++k) frontier[k] = Bits{};
      const Vertex other = lowest(rest);
      flip(rest, other);
      flip(frontier, other);
      more = flood(rest, frontier);
      evaluate(i, other);
      evaluate(other, j);
      if (!first_is_zero) {
        evaluate(i, witness);
        evaluate(witness, j);
      }
      relations_.begin_sum();
      add(i, other);
      add(other, j);
      if (!first_is_zero) {
        add(i, witness);
        add(witness, j);
      }
      if (!relations_.sum_is_zero())
        memory_.killed.push_back(generators_.size() - born_ + relations_.kill_youngest());
    }
    write_bars(e);
    if (relations_.alive() != 0) return;
    // Nothing is alive: every annotation is zero now, so all vectors can go.
    std::copy(adjacent_, adjacent_ + n_ * width(), zero_);
    relations_.clear();
    born_ = 0;
  }

  // The bars that end at e, in order of birth; those of zero length are none.
  void write_bars(const FiltrationEdge<T>& e) {
    std::vector<std::size_t>& killed = memory_.killed;
    std::sort(killed.begin(), killed.end());
    for (const std::size_t generator : killed)
      if (generators_[generator].length < e.length)
        h1_.push_back({generators_[generator].edge, e.edge});
    killed.clear();
  }

  // Replaces the witness of an edge by its annotation, and those of the edges below it.
  void evaluate(Vertex i, Vertex j) {
    if (is_settled(i, j)) return;
    std::vector<Edge>& pending = memory_.pending;
    pending.push_back(make_edge(i, j));
    while (!pending.empty()) {
      const Edge e = pending.back();
      const Vertex a = first(e);
      const Vertex b = second(e);
      if (is_settled(a, b)) {
        pending.pop_back();
        continue;
      }
      const auto k = static_cast<Vertex>(-1 - annotations_[slot(a, b)]);
      const std::size_t before = pending.size();
      if (!is_settled(a, k)) pending.push_back(make_edge(a, k));
      if (!is_settled(k, b)) pending.push_back(make_edge(k, b));
      if (pending.size() != before) continue;
      relations_.begin_sum();
      add(a, k);
      add(k, b);
      if (relations_.sum_is_zero())
        connect(zero_, a, b);
      else
        annotations_[slot(a, b)] = static_cast<std::int32_t>(relations_.store_sum());
      pending.pop_back();
    }
  }

  bool is_settled(Vertex i, Vertex j) const {
    return is_zero(i, j) || annotations_[slot(i, j)] >= 0;
  }

  void add(Vertex i, Vertex j) {
    if (is_zero(i, j)) return;
    const auto vector = static_cast<std::uint32_t>(annotations_[slot(i, j)]);
    if (relations_.is_zero(vector))
      connect(zero_, i, j);
    else
      relations_.add(vector);
  }

  // Of the pairs i < j, numbered by j, then i.
  std::size_t slot(Vertex i, Vertex j) const {
    const std::size_t later = std::max(i, j);
    return later * (later - 1) / 2 + std::min(i, j);
  }

  // How many of its neighbours each vertex asks for theirs, and how many edges are swept in the
  // time of a look at a pair that may have an empty lune.
  static constexpr std::size_t kAsked = 8;
  static constexpr std::size_t kEdgesPerLook = 2;

  const T* D_;
  std::size_t n_;
  std::size_t width_;
  T radius_;
  const std::vector<Vertex>& order_;
  EdgeQueue<T> queue_;
  SweepMemory<T>& memory_;
  // Few points have few generators.
  Relations<W == 1 || W == 2 ? 16 : kRegisterBytes> relations_;
  std::vector<FiltrationEdge<T>>& generators_;
  std::vector<H0Bar>& h0_;
  std::vector<H1Bar>& h1_;
  Word* adjacent_;
  Word* zero_;
  const Vertex* rank_;
  std::int32_t* annotations_;
  // How many generators were born since nothing was alive.
  std::size_t born_ = 0;
  std::size_t swept_ = 0;
  // How many edges are swept before the edges with an empty lune are listed.
  std::size_t next_listing_ = 0;
  bool knows_empty_lunes_ = false;
  std::size_t next_empty_ = 0;
};

template <class T>
void run_sweep(const T* D, std::size_t n, T shortest, T radius, const std::vector<Vertex>& order,
               SweepMemory<T>& memory, std::vector<H0Bar>& h0, std::vector<H1Bar>& h1) {
  const auto run = [&](auto width) {
    LuneSweep<T, decltype(width)::value>(D, n, shortest, radius, order, memory, h0, h1).run();
  };
  if (n <= 64) return run(std::integral_constant<std::size_t, 1>{});
  if (n <= 128) return run(std::integral_constant<std::size_t, 2>{});
  if (n <= 256) return run(std::integral_constant<std::size_t, 4>{});
  if (n <= 512) return run(std::integral_constant<std::size_t, 8>{});
  if (n <= 1024) return run(std::integral_constant<std::size_t, 16>{});
  run(std::integral_constant<std::size_t, 0>{});
}

}  // namespace tsl::TSL_TARGET::lune_sweep
