// The graph of the edges up to the youngest generator, and which class of H1 each edge stands for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rips/bitset.hpp"
#include "rips/filtration.hpp"
#include "rips/sweep_record.hpp"

namespace tsl::rips {

// The label of an edge is its annotation, reduced: a sum of generators that are alive. The sum of
// the labels around a loop is the class of the loop, and zero where the loop is a boundary.
//
// The sweep settles few annotations, and keeps none once no class is alive. Here all of them are
// computed again, up to the youngest generator, as the edges are added in the order of the record.
class LabelledGraph {
 public:
  // An edge to `vertex`, which is the record's edge number `place`.
  struct Neighbour {
    Vertex vertex;
    std::uint32_t place;
  };

  // The first `count` edges of the record, none of them added.
  void reset(std::size_t n, const SweepRecord& record, std::size_t count);

  // Adds the next edge, and gives it its label.
  void add_next();
  // The edge that was added last is a generator.
  void give_birth(Generator generator);
  // The sum becomes zero, and its youngest generator dies.
  void kill(const SweepRecord::Death& death);

  Edge edge(std::size_t place) const { return edges_[place]; }

  // The edges at a vertex in the order in which they are added, those to come too; the last has the
  // place kEnd.
  static constexpr std::uint32_t kEnd = UINT32_MAX;
  const Neighbour* neighbours(Vertex v) const { return neighbours_.data() + starts_[v]; }

  // The vertices next to one by the edges that were added, a row of bits, and the edge between two.
  const Word* row(Vertex v) const { return adjacent_.data() + v * words_; }
  std::uint32_t place_of(Vertex i, Vertex j) const { return place_of_[pair(i, j)]; }

  // The words of a label, and the label of an edge that was added.
  std::size_t width() const { return width_; }
  const Word* label(std::size_t place) const {
    return place < first_labelled_ ? zero_.data() : labels_.data() + at(place);
  }

 private:
  void list_neighbours();
  bool find_witness(Vertex i, Vertex j, Vertex& witness) const;

  std::size_t at(std::size_t place) const { return (place - first_labelled_) * width_; }
  Word* last_label() { return labels_.data() + at(added_ - 1); }
  Word* holders(std::size_t bit) { return holders_.data() + bit * label_words_; }
  void note_holders(std::size_t place);

  // Numbers the pairs i < j by j, then i.
  static std::size_t pair(Vertex i, Vertex j) {
    const std::size_t later = i < j ? j : i;
    return later * (later - 1) / 2 + (i < j ? i : j);
  }

  std::size_t n_ = 0;
  std::size_t count_ = 0;
  std::size_t words_ = 0;
  std::size_t width_ = 0;
  const Edge* edges_ = nullptr;
  const Generator* sums_ = nullptr;
  std::size_t added_ = 0;
  std::vector<std::uint32_t> starts_;
  std::vector<Neighbour> neighbours_;
  // Rows of bits, the neighbours of each vertex so far.
  std::vector<Word> adjacent_;
  std::vector<std::uint32_t> place_of_;

  // The labels of the edges since no class was alive last, as many as were added; those before have
  // zero.
  std::size_t first_labelled_ = 0;
  std::vector<Word> labels_;
  std::vector<Word> zero_;
  std::vector<Word> sum_;
  // A generator that is alive is a bit of the labels, which others get once it is dead.
  std::size_t alive_ = 0;
  std::vector<std::uint32_t> bit_of_;
  // For each bit the labels that have it, a row of bits.
  std::size_t label_words_ = 0;
  std::vector<Word> holders_;
  std::vector<std::uint32_t> free_bits_;
};

}  // namespace tsl::rips
