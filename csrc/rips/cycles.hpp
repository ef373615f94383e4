// Representative cycles of the classes of H1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rips/bar.hpp"
#include "rips/filtration.hpp"
#include "rips/labelled_graph.hpp"
#include "rips/loop_search.hpp"
#include "rips/spanning_forest.hpp"
#include "rips/sweep_record.hpp"

namespace tsl::rips {

// Cycles mod 2, one after the other: the edges of each in filtration order, and where each ends.
struct Cycles {
  std::vector<Edge> edges;
  std::vector<std::size_t> ends;

  void clear() {
    edges.clear();
    ends.clear();
  }
};

// Thrown where the search for the short loops of a cloud would take more bytes than it may.
struct NoRoom {
  std::size_t points;
  std::size_t bytes;
};

// A cycle represents a bar if its youngest edge is the birth edge and it is a boundary once the
// death edge has entered, and a class that never dies if its youngest edge is the birth edge.
// csrc/README.md shows that it is no boundary before.
template <class T>
class CycleFinder {
 public:
  // Writes a cycle for each bar of H1 of the matrix D [n, n], in their order, and then for each
  // class that never dies; one without edges for all but `most`, of which those that never die come
  // first, and then the longest bars. `h0` and `record` are what the sweep of D wrote.
  //
  // The loop of a generator goes by the minimum spanning forest, and the sum of the loops of those
  // that became zero together represents the bar of the youngest. With `shorten` a single loop is
  // looked for, and where none is found, shorter loops for the parts of a sum of few. That may take
  // `room` bytes, or NoRoom is thrown.
  void find(const T* D, std::size_t n, const Barcode& h0, const SweepRecord& record, bool shorten,
            std::size_t most, std::size_t room, Cycles& cycles);

 private:
  using Death = SweepRecord::Death;

  // The loops of longer sums stay as they are: by the forest, most of their edges cancel.
  static constexpr std::size_t kMostShortened = 3;

  bool has_length(const Death& death) const;
  T lifetime(const Death& death) const;
  bool comes_first(const Death& a, const Death& b) const;
  void choose(std::size_t most);
  void follow_sweep(std::size_t room);
  const Death* kill_together(const Death* death);
  void represent_bar(const Death& death);
  void represent_essential();
  bool add_short_loop(Generator generator, const Word* target);
  void add_forest_loop(Generator generator);
  void add_edge(Edge e);
  void write_cycle();
  void begin_cycle();

  const T* D_ = nullptr;
  std::size_t n_ = 0;
  const SweepRecord* record_ = nullptr;
  bool shorten_ = false;
  Cycles* cycles_ = nullptr;
  SpanningForest forest_;
  LabelledGraph graph_;
  LoopSearch<T> search_;
  std::vector<const Death*> together_;
  std::vector<char> died_;
  // Whether the cycle of each generator is wanted.
  std::vector<char> is_chosen_;
  std::vector<const Death*> bars_;
  // How many generators the graph has.
  std::size_t born_ = 0;
  // The edges of the cycle that is being formed, among them some that cancel.
  std::vector<FiltrationEdge<T>> cycle_;
  // Whether these are generators alone, in order, and whether ways by the forest are to come.
  bool is_sorted_ = true;
  bool has_ways_ = false;
};

}  // namespace tsl::rips
