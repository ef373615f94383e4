// The search for a short loop through a given edge, in a given class.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rips/bitset.hpp"
#include "rips/filtration.hpp"
#include "rips/labelled_graph.hpp"

namespace tsl::rips {

// A loop whose youngest edge is ij is that edge and a way from i to j by edges before it. Its class
// is known by the sum of the labels on the way. So the shortest way of a class is found by
// breadth-first search over pairs (vertex, sum of the labels so far), from both ends at once.
//
// Ways of three edges, which most loops are closed by, need no search: of fewer there are none, for
// the edge has an empty lune. So the search begins with four.
//
// The shortest way may pass a vertex twice, with different sums. Then a depth-first search tries
// ways that do not. Both searches give up after so many steps.
template <class T>
class LoopSearch {
 public:
  // Loops of a graph whose lengths are in the matrix D [n, n].
  void reset(const T* D, std::size_t n, const LabelledGraph& graph);

  // Whether a way was found between the ends of the edge `closing` by edges before it, with labels
  // that sum to `target` in the bits that count; without a target any way will do. It has the
  // fewest edges of those that pass no vertex twice, else of all, and of those the least length.
  bool find(std::size_t closing, const Word* target);

  // Whether the way that was found passes no vertex twice, and its edges, as places.
  bool is_simple() const { return is_simple_; }
  const std::vector<std::uint32_t>& way() const { return way_; }

 private:
  using Neighbour = LabelledGraph::Neighbour;

  static constexpr std::size_t kMostStates = 256;
  static constexpr std::size_t kMostSteps = 1024;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  // A vertex and a sum of labels with which it is reached.
  struct State {
    Vertex vertex;
    // The state before it, and the edge from there.
    std::uint32_t from;
    std::uint32_t place;
    // The next state of the same vertex.
    std::uint32_t next;
    // Of the shortest way to it.
    T length;
  };

  // Of one vertex the state that was found last; and of the sums of all of them, in the words that
  // tell most, the bits that any and that all have, so that few sums are compared in vain.
  struct Reached {
    Word any = 0;
    Word all = ~Word{0};
    std::uint32_t newest = kNone;

    bool may_have(Word word) const { return ((word & ~any) | (all & ~word)) == 0; }
  };

  // What is reached from one end. There is room for a level that goes beyond kMostStates by one
  // vertex's neighbours.
  struct Side {
    std::vector<State> states;
    // `width` words a state, the labels on the way to it; from the second end, with the target.
    std::vector<Word> sums;
    std::vector<Reached> reached;
    std::size_t size = 0;
    // Where the states of the last level begin.
    std::size_t level = 0;

    std::size_t level_size() const { return size - level; }
  };

  // Where both sides meet: a state of each, and the edge between these.
  struct Meeting {
    std::uint32_t ours;
    std::uint32_t theirs = kNone;
    std::uint32_t between;
    T length;
  };

  // Visits the neighbours of a vertex by edges before the closing one.
  template <class Visit>
  void for_each_before(Vertex v, Visit visit) const {
    const Neighbour* const end = graph_->neighbours_end(v);
    for (const Neighbour* by = graph_->neighbours_begin(v); by != end && by->place < closing_; ++by)
      visit(*by);
  }

  template <class Width>
  bool search(const Word* target, Width width);
  template <class Width>
  bool find_square(const Word* target, Width width);
  template <class Width>
  bool find_shortest(const Word* target, Width width);
  template <class Width>
  void start(Side& side, Vertex v, const Word* sum, Width width);
  template <class Width>
  Meeting grow(Side& side, const Side& other, Width width);
  template <class Width>
  std::uint32_t find_state(const Side& side, Vertex v, const Word* sum, Width width) const;
  void add_state(Side& side, const State& state);
  void join(const Side& side, const Side& other, const Meeting& meeting);
  void follow(const Side& side, std::uint32_t state);
  void forget(Side& side);
  bool passes_no_vertex_twice();

  void find_simple(const Word* target);
  void measure_hops(Vertex end);
  void extend(Vertex v, std::size_t edges_left, T length);
  void add_to_sum(std::size_t place);
  bool sum_is_zero() const;

  const T* D_ = nullptr;
  std::size_t n_ = 0;
  const LabelledGraph* graph_ = nullptr;
  std::size_t closing_ = 0;
  std::size_t width_ = 0;
  const Word* alive_ = nullptr;
  // The word with the most bits that count.
  std::size_t telling_ = 0;
  // The vertices next to the second end of the closing edge, a row of bits, by which edges, and the
  // sums of the labels of these and the target.
  std::vector<Word> near_second_;
  std::vector<std::uint32_t> last_;
  std::vector<Word> last_sums_;
  Side from_first_;
  Side from_second_;
  std::vector<Word> zero_;
  std::vector<Word> sum_;
  std::vector<std::uint32_t> way_;
  bool is_simple_ = false;

  // Of the depth-first search: the least number of edges to the end, whether a vertex is passed,
  // the way so far and the sum that is still missing.
  std::vector<std::uint32_t> hops_;
  std::vector<Vertex> reached_;
  std::vector<char> passed_;
  std::vector<std::uint32_t> trail_;
  std::size_t steps_ = 0;
  T least_ = 0;
};

}  // namespace tsl::rips
