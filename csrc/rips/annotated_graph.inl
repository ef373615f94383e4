// The graph of the edges swept so far, and the annotation of each.
#if defined(TSL_ANNOTATED_GRAPH_INL) == defined(TSL_TARGET_TOGGLE)
#ifdef TSL_ANNOTATED_GRAPH_INL
#undef TSL_ANNOTATED_GRAPH_INL
#else
#define TSL_ANNOTATED_GRAPH_INL
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "rips/bit_rows.inl"
#include "rips/lune_sweep.hpp"

namespace tsl::TSL_TARGET::annotated_graph {

using namespace bit_rows;
using namespace rips;

// Every edge carries an annotation: a sum of generators, such that the annotations around a
// triangle of the complex cancel. It is zero, which a bit says; or the index of a stored vector of
// Relations; or a witness: a vertex k of the edge's lune whose two sides sum to the annotation.
//
// W is the number of words in a row of vertex bits, or 0 where only run time knows it.
template <std::size_t W>
class AnnotatedGraph {
 public:
  using Layout = RowLayout<W>;
  using Bits = typename Layout::Bits;

  // A graph on n vertices without an edge.
  AnnotatedGraph(std::size_t n, GraphMemory& memory)
      : n_(n), width_(W ? W : (words_for(n) + 7) / 8 * 8) {
    memory.adjacent.assign(n * width(), 0);
    memory.zero.assign(n * width(), 0);
    const std::size_t pairs = n * (n - 1) / 2;
    if (memory.annotations_size < pairs) {
      memory.annotations.reset(new std::int32_t[pairs]);
      memory.annotations_size = pairs;
    }
    adjacent_ = memory.adjacent.data();
    zero_ = memory.zero.data();
    annotations_ = memory.annotations.get();
    for (Vertex v = 0; v < n; ++v) set_bit(adjacent_, v, v);
  }

  // Words of a row, and registers.
  std::size_t width() const { return W ? W : width_; }
  std::size_t parts() const { return width() / Layout::kWords; }

  // The neighbours of a vertex, itself among them, and those whose edge is annotated zero.
  const Word* neighbours(std::size_t v) const { return adjacent_ + v * width(); }
  const Word* zero_neighbours(std::size_t v) const { return zero_ + v * width(); }

  static Bits part(const Word* row, std::size_t k) {
    return load_bits<Bits>(row + k * Layout::kWords);
  }

  bool have_common_neighbour(Vertex i, Vertex j) const {
    const Word* a = neighbours(i);
    const Word* b = neighbours(j);
    Bits common{};
    for (std::size_t k = 0; k < parts(); ++k) common |= part(a, k) & part(b, k);
    return any_bit(common);
  }

  // New edges. Most are annotated zero, and to call a function takes as long as to set their bits.
  [[gnu::always_inline]] void connect_zero(Vertex i, Vertex j) {
    set_both(adjacent_, i, j);
    set_both(zero_, i, j);
  }
  void connect_vector(Vertex i, Vertex j, std::uint32_t vector) {
    annotations_[slot(i, j)] = static_cast<std::int32_t>(vector);
    set_both(adjacent_, i, j);
  }
  void connect_witness(Vertex i, Vertex j, Vertex witness) {
    set_both(adjacent_, i, j);
    annotations_[slot(i, j)] = -1 - static_cast<std::int32_t>(witness);
  }

  // What an edge's annotation is: settled if it is zero or a vector, else a witness.
  bool is_zero(Vertex i, Vertex j) const { return zero_[i * width() + j / 64] >> (j % 64) & 1; }
  bool is_settled(Vertex i, Vertex j) const {
    return is_zero(i, j) || annotations_[slot(i, j)] >= 0;
  }
  std::uint32_t vector_of(Vertex i, Vertex j) const {
    return static_cast<std::uint32_t>(annotations_[slot(i, j)]);
  }
  Vertex witness_of(Vertex i, Vertex j) const {
    return static_cast<Vertex>(-1 - annotations_[slot(i, j)]);
  }

  void set_zero(Vertex i, Vertex j) { set_both(zero_, i, j); }
  void set_vector(Vertex i, Vertex j, std::uint32_t vector) {
    annotations_[slot(i, j)] = static_cast<std::int32_t>(vector);
  }
  void set_all_zero() { std::copy(adjacent_, adjacent_ + n_ * width(), zero_); }

 private:
  void set_bit(Word* rows, Vertex row, Vertex bit) const {
    rows[row * width() + bit / 64] |= Word{1} << (bit % 64);
  }
  [[gnu::always_inline]] void set_both(Word* rows, Vertex i, Vertex j) const {
    set_bit(rows, i, j);
    set_bit(rows, j, i);
  }

  // Numbers the pairs i < j by j, then i.
  std::size_t slot(Vertex i, Vertex j) const {
    const std::size_t later = std::max(i, j);
    return later * (later - 1) / 2 + std::min(i, j);
  }

  std::size_t n_;
  std::size_t width_;
  Word* adjacent_;
  Word* zero_;
  std::int32_t* annotations_;
};

}  // namespace tsl::TSL_TARGET::annotated_graph

#endif
