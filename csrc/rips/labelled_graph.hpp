// The graph of the edges up to the youngest generator, and which class of H1 each edge stands for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rips/bitset.hpp"
#include "rips/filtration.hpp"
#include "rips/sweep_record.hpp"

namespace tsl::rips {

// The label of an edge is its annotation, written in another basis: as a sum of relations in place
// of generators. Each generator has a bit, which stands for the sum that becomes zero as it dies.
// So labels stay as they are when something dies, but for its bit, which counts no more: the sum of
// the labels around a loop is zero, but for bits of the dead, where the loop is a boundary.
//
// The sweep settles few annotations, and keeps none once no class is alive. Here the labels of all
// edges up to the youngest generator are computed, as these are added in the order of the record.
class LabelledGraph {
 public:
  // An edge to `vertex`, which is the record's edge number `place`.
  struct Neighbour {
    Vertex vertex;
    std::uint32_t place;
  };

  // About how many bytes the first `count` edges of the record take.
  static std::size_t bytes(std::size_t n, const SweepRecord& record, std::size_t count) {
    return count * (width_for(record) * sizeof(Word) + 2 * sizeof(Neighbour)) +
           n * n * sizeof(std::uint32_t);
  }

  // The first `count` edges of the record, none of them added.
  void reset(std::size_t n, const SweepRecord& record, std::size_t count);

  // Adds the next edge, and gives it its label.
  void add_next();
  // Adds the next edge, which is the next generator.
  void give_birth();
  // A generator dies, with the sum that has become zero.
  void kill(Generator generator);

  Edge edge(std::size_t place) const { return edges_[place]; }
  // Where a generator stands among the edges.
  std::size_t place(Generator generator) const { return places_[generator]; }

  // The edges at a vertex in the order in which they were added.
  const Neighbour* neighbours_begin(Vertex v) const { return neighbours_.get() + v * n_; }
  const Neighbour* neighbours_end(Vertex v) const { return neighbours_begin(v) + degree_[v]; }

  // The vertices next to one, a row of bits, and the edge between two.
  const Word* row(Vertex v) const { return adjacent_.data() + v * words_; }
  std::uint32_t place_of(Vertex i, Vertex j) const { return place_of_[i * n_ + j]; }

  // The words of a label, the label of an edge that was added, no bits, and the bits that
  // count.
  std::size_t width() const { return width_; }
  const Word* label(std::size_t place) const {
    return place < first_labelled_ ? zero_.data() : labels_.get() + at(place);
  }
  const Word* zero() const { return zero_.data(); }
  const Word* alive() const { return alive_.data(); }

 private:
  // With a quarter more bits than ever count, those of the dead are seldom cleared.
  static std::size_t width_for(const SweepRecord& record) {
    return words_for(
        std::min(record.generators.size(), record.most_alive + record.most_alive / 4 + 1));
  }

  bool find_witness(Vertex i, Vertex j, Vertex& witness) const;
  std::size_t take_bit();
  void connect(std::size_t place);
  void connect(Vertex i, Vertex j, std::size_t place);

  std::size_t at(std::size_t place) const { return (place - first_labelled_) * width_; }
  Word* last_label() { return labels_.get() + at(added_ - 1); }

  std::size_t n_ = 0;
  std::size_t words_ = 0;
  std::size_t width_ = 0;
  const Edge* edges_ = nullptr;
  std::size_t added_ = 0;
  // Rows of n, of which each vertex has as many as it has edges; uninitialised, as all of these
  // are, for each is written before it is read.
  std::unique_ptr<Neighbour[]> neighbours_;
  std::unique_ptr<std::uint32_t[]> place_of_;
  std::size_t pairs_size_ = 0;
  std::vector<std::uint32_t> degree_;
  // Rows of bits, the neighbours of each vertex so far.
  std::vector<Word> adjacent_;

  // Of each generator the sum that becomes zero as it dies, in the record's `sums`, and its edge
  // and its bit once it is born.
  struct Sum {
    const Generator* begin;
    const Generator* end;
  };
  std::vector<Sum> sums_;
  std::vector<std::uint32_t> places_;
  std::vector<std::uint32_t> bit_of_;

  // The labels of the edges since no class was alive last; those before have zero.
  std::size_t first_labelled_ = 0;
  std::unique_ptr<Word[]> labels_;
  std::size_t labels_size_ = 0;
  std::vector<Word> zero_;
  // Sets of bits: those of generators that are alive, and those that no label has.
  std::vector<Word> alive_;
  std::vector<Word> unused_;
  std::size_t count_alive_ = 0;
};

}  // namespace tsl::rips
