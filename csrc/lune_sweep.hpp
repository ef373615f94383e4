// The sweep over the filtration that pairs every H1 generator with the edge that kills it.
#pragma once

#include <algorithm>
#include <vector>

#include "bitset.hpp"
#include "edge_buckets.hpp"
#include "h1.hpp"
#include "relations.hpp"

namespace tsl {

// Every edge carries an annotation: a sum of generators, such that the annotations around a triangle
// of the complex cancel. Zero annotations are bits of `zero_`; others are stored vectors of
// `relations_`, or a witness: a vertex k of the edge's lune whose two sides sum to it.
// W is the number of words in a row of vertex bits, or 0 where only run time knows it.
template <class T, int W>
class LuneSweep {
 public:
  LuneSweep(std::size_t n, const std::vector<FiltrationEdge<T>>& generators,
            EdgeBuckets<T>& buckets, Relations& relations, std::int32_t* annotations,
            std::vector<Edge>& pending, std::vector<H1Bar>& bars)
      : n_(n),
        generators_(generators),
        buckets_(buckets),
        relations_(relations),
        annotations_(annotations),
        pending_(pending),
        bars_(bars) {
    adjacent_.reset(n);
    zero_.reset(n);
    if (!W) {
      rest_words_.resize(adjacent_.width());
      frontier_words_.resize(adjacent_.width());
    }
  }

  void run() {
    relations_.clear();
    for (std::size_t b = 0; b < buckets_.count(); ++b) {
      if (relations_.alive() == 0) {
        if (next_ == generators_.size()) return;
        if (buckets_.bucket_of(generators_[next_].length) > b) {
          for (auto* e = buckets_.begin(b); e != buckets_.end(b); ++e) connect_zero(e->edge);
          continue;
        }
      }
      buckets_.sort(b);
      for (auto* e = buckets_.begin(b); e != buckets_.end(b); ++e) add_edge(*e);
    }
  }

 private:
  void add_edge(const FiltrationEdge<T>& e) {
    if (next_ < generators_.size() && generators_[next_].edge == e.edge) {
      set_vector(e.edge, relations_.give_birth());
      ++next_;
      ++next_local_;
      adjacent_.connect(first(e.edge), second(e.edge));
    } else if (relations_.alive() == 0) {
      connect_zero(e.edge);
    } else {
      fill_lune(e);
    }
  }

  void connect_zero(Edge e) {
    adjacent_.connect(first(e), second(e));
    zero_.connect(first(e), second(e));
  }

  // The lune's vertices whose two sides are annotated zero agree already: they count as one
  // component, whatever the graph says.
  void fill_lune(const FiltrationEdge<T>& e) {
    const Vertex i = first(e.edge);
    const Vertex j = second(e.edge);
    const std::size_t width = adjacent_.width();
    Word fixed_rest[W ? W : 1];
    Word fixed_frontier[W ? W : 1];
    Word* rest = W ? fixed_rest : rest_words_.data();
    Word* frontier = W ? fixed_frontier : frontier_words_.data();

    Word any = 0;
    Word any_zero = 0;
    for (std::size_t w = 0; w < width; ++w) {
      const Word lune = adjacent_.row(i)[w] & adjacent_.row(j)[w];
      const Word zero = lune & zero_.row(i)[w] & zero_.row(j)[w];
      rest[w] = lune & ~zero;
      frontier[w] = zero;
      any |= lune;
      any_zero |= zero;
    }
    // A tree edge: nothing to sum over, so it can carry zero.
    if (!any) return connect_zero(e.edge);

    Vertex witness = 0;
    if (!any_zero) witness = take_lowest(rest, frontier);
    if (flood(rest, frontier, width)) kill_differences(e, rest, frontier, any_zero != 0, witness);

    if (any_zero || relations_.alive() == 0) {
      connect_zero(e.edge);
    } else {
      adjacent_.connect(i, j);
      annotations_[slot(e.edge)] = -1 - static_cast<std::int32_t>(witness);
    }
  }

  // Moves the lowest vertex of `rest` to `frontier`, which is empty.
  static Vertex take_lowest(Word* rest, Word* frontier) {
    std::size_t w = 0;
    while (rest[w] == 0) ++w;
    const Word bit = rest[w] & (~rest[w] + 1);
    rest[w] ^= bit;
    frontier[w] = bit;
    return static_cast<Vertex>(w * 64 + lowest_bit(bit));
  }

  // Takes everything that `frontier` reaches out of `rest`; returns whether something stays.
  bool flood(Word* rest, Word* frontier, std::size_t width) const {
    Word left = 0;
    for (std::size_t w = 0; w < width; ++w) left |= rest[w];
    for (std::size_t at = 0; left && at < width;) {
      if (frontier[at] == 0) {
        ++at;
        continue;
      }
      const Vertex v = static_cast<Vertex>(at * 64 + lowest_bit(frontier[at]));
      frontier[at] &= frontier[at] - 1;
      const Word* neighbours = adjacent_.row(v);
      left = 0;
      for (std::size_t w = 0; w < width; ++w) {
        const Word reached = rest[w] & neighbours[w];
        rest[w] ^= reached;
        frontier[w] |= reached;
        left |= rest[w];
        if (reached && w < at) at = w;
      }
    }
    return left != 0;
  }

  // One relation for each further component of the lune.
  void kill_differences(const FiltrationEdge<T>& e, Word* rest, Word* frontier, bool first_is_zero,
                        Vertex witness) {
    const Vertex i = first(e.edge);
    const Vertex j = second(e.edge);
    const std::size_t width = adjacent_.width();
    bool more = true;
    while (more && relations_.alive() != 0) {
      std::fill(frontier, frontier + width, Word{0});
      const Vertex other = take_lowest(rest, frontier);
      more = flood(rest, frontier, width);
      evaluate(make_edge(i, other));
      evaluate(make_edge(other, j));
      if (!first_is_zero) {
        evaluate(make_edge(i, witness));
        evaluate(make_edge(witness, j));
      }
      relations_.begin_sum();
      add(make_edge(i, other));
      add(make_edge(other, j));
      if (!first_is_zero) {
        add(make_edge(i, witness));
        add(make_edge(witness, j));
      }
      if (!relations_.sum_is_zero())
        killed_.push_back(next_ - next_local_ + relations_.kill_youngest());
    }
    write_bars(e);
    if (relations_.alive() != 0) return;
    // Nothing is alive: every annotation is zero now, so all vectors can go.
    zero_.copy_from(adjacent_);
    relations_.clear();
    next_local_ = 0;
  }

  // The bars that end at e, in order of birth; those of zero length are none.
  void write_bars(const FiltrationEdge<T>& e) {
    std::sort(killed_.begin(), killed_.end());
    for (const std::size_t generator : killed_)
      if (generators_[generator].length < e.length)
        bars_.push_back({generators_[generator].edge, e.edge});
    killed_.clear();
  }

  // Replaces the witness of an edge by its annotation, and those of the edges below it.
  void evaluate(Edge edge) {
    pending_.push_back(edge);
    while (!pending_.empty()) {
      const Edge e = pending_.back();
      if (is_settled(e)) {
        pending_.pop_back();
        continue;
      }
      const Vertex k = static_cast<Vertex>(-1 - annotations_[slot(e)]);
      const Edge ik = make_edge(first(e), k);
      const Edge kj = make_edge(k, second(e));
      const std::size_t before = pending_.size();
      if (!is_settled(ik)) pending_.push_back(ik);
      if (!is_settled(kj)) pending_.push_back(kj);
      if (pending_.size() != before) continue;
      relations_.begin_sum();
      add(ik);
      add(kj);
      if (relations_.sum_is_zero())
        zero_.connect(first(e), second(e));
      else
        set_vector(e, relations_.store_scratch());
      pending_.pop_back();
    }
  }

  bool is_settled(Edge e) const {
    return zero_.test(first(e), second(e)) || annotations_[slot(e)] >= 0;
  }

  void add(Edge e) {
    if (zero_.test(first(e), second(e))) return;
    const auto vector = static_cast<std::uint32_t>(annotations_[slot(e)]);
    if (relations_.is_zero(vector))
      zero_.connect(first(e), second(e));
    else
      relations_.add(vector);
  }

  void set_vector(Edge e, std::uint32_t vector) {
    annotations_[slot(e)] = static_cast<std::int32_t>(vector);
  }

  std::size_t slot(Edge e) const { return std::size_t{first(e)} * n_ + second(e); }

  std::size_t n_;
  const std::vector<FiltrationEdge<T>>& generators_;
  EdgeBuckets<T>& buckets_;
  Relations& relations_;
  std::int32_t* annotations_;
  std::vector<Edge>& pending_;
  std::vector<H1Bar>& bars_;
  BitMatrix<W> adjacent_;
  BitMatrix<W> zero_;
  // The generators that the current edge kills.
  std::vector<std::size_t> killed_;
  std::vector<Word> rest_words_;
  std::vector<Word> frontier_words_;
  // The next generator to be born, and how many were born since nothing was alive.
  std::size_t next_ = 0;
  std::size_t next_local_ = 0;
};

}  // namespace tsl
