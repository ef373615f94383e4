// Included by lune_sweep.cpp once per instruction set.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "platform/stop.hpp"
#include "rips/annotated_graph.inl"
#include "rips/bit_rows.inl"
#include "rips/edge_queue.inl"
#include "rips/empty_lunes.inl"
#include "rips/lune_sweep.hpp"
#include "rips/relations.inl"

namespace tsl::TSL_TARGET::lune_sweep {

using namespace bit_rows;
using namespace rips;
using annotated_graph::AnnotatedGraph;
using edge_queue::EdgeQueue;
using empty_lunes::EmptyLunes;
using relations::Relations;

// Lengths and edges, which the order of the filtration compares, name vertices as the caller does.
// The graph numbers them from the centre of the cloud outwards, so that the lowest vertex of a lune
// tends to be one that is a neighbour of most others.
//
// W is the number of words in a row of vertex bits, or 0 where only run time knows it.
template <class T, std::size_t W>
class LuneSweep {
 public:
  LuneSweep(const T* D, std::size_t n, T shortest, T reach, const std::vector<Vertex>& order,
            SweepMemory<T>& memory, Barcode& h0, Barcode& h1, SweepRecord* record)
      : n_(n),
        queue_(D, n, shortest, reach, memory.edges),
        graph_(n, memory.graph),
        empty_lunes_(D, n, reach, order, graph_, memory.empty_lunes),
        relations_(memory.relations),
        memory_(memory),
        h0_(h0),
        h1_(h1),
        record_(record) {
    memory.components.reset(n);
    memory.rank.resize(n);
    rank_ = memory.rank.data();
    for (std::size_t r = 0; r < n; ++r) memory.rank[order[r]] = static_cast<Vertex>(r);
    memory.generators.clear();
    memory.rest.resize(graph_.width());
    memory.frontier.resize(graph_.width());
  }

  void run() {
    sweep();
    write_essential();
  }

 private:
  void sweep() {
    while (queue_.next()) {
      checkpoint_.pass();
      if (relations_.alive() == 0 && !skip_to_next_empty_lune()) return;
      if (record_)
        for (const auto* e = queue_.begin(); e != queue_.end(); ++e)
          record_->edges.push_back(e->edge);
      for (const auto* e = queue_.begin(); e != queue_.end(); ++e) add_edge(*e);
      swept_ += static_cast<std::size_t>(queue_.end() - queue_.begin());
    }
  }

  using Graph = AnnotatedGraph<W>;
  using Layout = typename Graph::Layout;
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

  std::size_t parts() const { return graph_.parts(); }
  static Bits part(const Word* row, std::size_t k) { return Graph::part(row, k); }

  // The graph's number of a vertex.
  Vertex rank(Vertex v) const { return rank_[v]; }

  void add_edge(const FiltrationEdge<T>& e) {
    const Vertex i = rank(first(e.edge));
    const Vertex j = rank(second(e.edge));
    if (relations_.alive() != 0)
      fill_lune(e, i, j);
    else if (graph_.have_common_neighbour(i, j))
      graph_.connect_zero(i, j);
    else
      add_empty_lune(e, i, j);
  }

  // An edge with an empty lune joins two components, or creates an H1 class.
  void add_empty_lune(const FiltrationEdge<T>& e, Vertex i, Vertex j) {
    Vertex died = 0;
    if (h0_.bars.size() + 1 < n_ && memory_.components.unite(first(e.edge), second(e.edge), died)) {
      h0_.bars.push_back({make_edge(died, died), e.edge});
      // A tree edge closes no loop, so its annotation is zero.
      graph_.connect_zero(i, j);
    } else {
      graph_.connect_vector(i, j, relations_.give_birth());
      memory_.generators.push_back(e);
      ++born_;
      if (record_) record_->add_birth(e.edge, relations_.alive());
    }
  }

  // While no class is alive, only an edge with an empty lune can change that. Once these are
  // listed, the edges before the next of them are added without being sorted. Returns false when
  // there is none left.
  bool skip_to_next_empty_lune() {
    if (!empty_lunes_.are_listed(swept_)) return true;
    const FiltrationEdge<T>* const next = empty_lunes_.first_from(*queue_.begin());
    if (!next) return false;
    const T length = next->length;
    if (length > queue_.end()[-1].length) {
      const auto connect = [this](Edge e) __attribute__((always_inline)) {
        graph_.connect_zero(rank(first(e)), rank(second(e)));
      };
      if (record_) {
        add_shorter(length, [&](Edge e) {
          connect(e);
          record_->edges.push_back(e);
        });
      } else {
        // Most edges of a dense cloud pass here, so nothing else is asked of them.
        add_shorter(length, connect);
      }
      // The edge itself is still to come.
      queue_.next();
    }
    return true;
  }

  // Calls add(edge) for what the queue holds and all that is shorter than `length` behind it.
  template <class Add>
  void add_shorter(T length, Add add) {
    for (const auto* e = queue_.begin(); e != queue_.end(); ++e) add(e->edge);
    queue_.skip_shorter(length, add);
  }

  // Vertices of the lune whose two sides are both annotated zero need no relation between them, so
  // they count as one component even where no edges join them.
  void fill_lune(const FiltrationEdge<T>& e, Vertex i, Vertex j) {
    Row rest(memory_.rest.data());
    Row frontier(memory_.frontier.data());
    const Word* adjacent_i = graph_.neighbours(i);
    const Word* adjacent_j = graph_.neighbours(j);
    const Word* zero_i = graph_.zero_neighbours(i);
    const Word* zero_j = graph_.zero_neighbours(j);

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
    for (std::size_t k = 0; k < parts(); ++k) left |= rest[k] & ~part(graph_.neighbours(v), k);
    if (any_bit(left)) split_lune(e, i, j, rest, frontier, has_zero, v);

    if (has_zero || relations_.alive() == 0) {
      graph_.connect_zero(i, j);
    } else {
      graph_.connect_witness(i, j, v);
    }
  }

  // Kills the classes that the relations of the lune's further components make zero. The first
  // component is that of v.
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
      const Word* near = graph_.neighbours(v);
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
      checkpoint_.pass();
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
      if (!relations_.sum_is_zero()) kill_youngest(e.edge);
    }
    write_bars(e);
    if (relations_.alive() != 0) return;
    // No class is alive: every annotation is zero now, so all vectors can go.
    graph_.set_all_zero();
    relations_.clear();
    born_ = 0;
  }

  void kill_youngest(Edge death) {
    const std::size_t oldest = memory_.generators.size() - born_;
    memory_.killed.push_back(oldest + relations_.kill_youngest());
    if (!record_) return;
    const std::size_t begin = record_->sums.size();
    relations_.for_each_of_sum([&](std::size_t generator) {
      record_->sums.push_back(static_cast<Generator>(oldest + generator));
    });
    record_->deaths.push_back({record_->sums.back(), death, begin, record_->sums.size()});
  }

  // The bars that end at e, in order of birth. Those of length zero are left out.
  void write_bars(const FiltrationEdge<T>& e) {
    std::vector<std::size_t>& killed = memory_.killed;
    std::sort(killed.begin(), killed.end());
    for (const std::size_t generator : killed)
      if (memory_.generators[generator].length < e.length)
        h1_.bars.push_back({memory_.generators[generator].edge, e.edge});
    killed.clear();
  }

  // The components that stayed apart, and the generators that are alive after the last edge.
  void write_essential() {
    if (h0_.bars.size() + 1 == n_)
      h0_.essential.push_back(make_edge(0, 0));
    else
      memory_.components.list_roots(n_, h0_.essential);
    if (relations_.alive() == 0) return;
    const FiltrationEdge<T>* const born =
        memory_.generators.data() + memory_.generators.size() - born_;
    for (std::size_t generator = 0; generator < born_; ++generator)
      if (relations_.is_alive(generator)) h1_.essential.push_back(born[generator].edge);
  }

  // Replaces the witness of an edge by the annotation that it stands for. The two sides of a
  // witness may have witnesses themselves, which are replaced first.
  void evaluate(Vertex i, Vertex j) {
    if (graph_.is_settled(i, j)) return;
    std::vector<Edge>& pending = memory_.pending;
    pending.push_back(make_edge(i, j));
    while (!pending.empty()) {
      checkpoint_.pass();
      const Edge e = pending.back();
      const Vertex a = first(e);
      const Vertex b = second(e);
      if (graph_.is_settled(a, b)) {
        pending.pop_back();
        continue;
      }
      const Vertex k = graph_.witness_of(a, b);
      const std::size_t before = pending.size();
      if (!graph_.is_settled(a, k)) pending.push_back(make_edge(a, k));
      if (!graph_.is_settled(k, b)) pending.push_back(make_edge(k, b));
      if (pending.size() != before) continue;
      relations_.begin_sum();
      add(a, k);
      add(k, b);
      if (relations_.sum_is_zero())
        graph_.set_zero(a, b);
      else
        graph_.set_vector(a, b, relations_.store_sum());
      pending.pop_back();
    }
  }

  void add(Vertex i, Vertex j) {
    if (graph_.is_zero(i, j)) return;
    const std::uint32_t vector = graph_.vector_of(i, j);
    if (relations_.is_zero(vector))
      graph_.set_zero(i, j);
    else
      relations_.add(vector);
  }

  std::size_t n_;
  EdgeQueue<T> queue_;
  Graph graph_;
  EmptyLunes<T, W> empty_lunes_;
  // At most 128 points have few generators, so a block of 16 bytes is enough.
  Relations<W == 1 || W == 2 ? 16 : kRegisterBytes> relations_;
  SweepMemory<T>& memory_;
  const Vertex* rank_;
  Barcode& h0_;
  Barcode& h1_;
  // Null where nobody asks for it.
  SweepRecord* record_;
  // How many generators were born since no class was alive last.
  std::size_t born_ = 0;
  std::size_t swept_ = 0;
  Checkpoint checkpoint_{256};
};

template <class T>
void run_sweep(const T* D, std::size_t n, T shortest, T reach, const std::vector<Vertex>& order,
               SweepMemory<T>& memory, Barcode& h0, Barcode& h1, SweepRecord* record) {
  const auto run = [&](auto width) {
    LuneSweep<T, decltype(width)::value>(D, n, shortest, reach, order, memory, h0, h1, record)
        .run();
  };
  if (n <= 64) return run(std::integral_constant<std::size_t, 1>{});
  if (n <= 128) return run(std::integral_constant<std::size_t, 2>{});
  if (n <= 256) return run(std::integral_constant<std::size_t, 4>{});
  if (n <= 512) return run(std::integral_constant<std::size_t, 8>{});
  if (n <= 1024) return run(std::integral_constant<std::size_t, 16>{});
  run(std::integral_constant<std::size_t, 0>{});
}

}  // namespace tsl::TSL_TARGET::lune_sweep
