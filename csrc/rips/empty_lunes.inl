// The list of the edges to come that have an empty lune.
#if defined(TSL_EMPTY_LUNES_INL) == defined(TSL_TARGET_TOGGLE)
#ifdef TSL_EMPTY_LUNES_INL
#undef TSL_EMPTY_LUNES_INL
#else
#define TSL_EMPTY_LUNES_INL
#endif

#include <algorithm>
#include <cstddef>
#include <vector>

#include "platform/stop.hpp"
#include "rips/annotated_graph.inl"
#include "rips/bitset.hpp"
#include "rips/filtration.hpp"
#include "rips/lune_sweep.hpp"
#include "rips/lunes.inl"

namespace tsl::TSL_TARGET::empty_lunes {

using namespace rips;
using annotated_graph::AnnotatedGraph;

// Made once few pairs are open, that is, may still have an empty lune.
template <class T, std::size_t W>
class EmptyLunes {
 public:
  // `order` gives the vertex of D that stands behind each vertex of the graph.
  EmptyLunes(const T* D, std::size_t n, T reach, const std::vector<Vertex>& order,
             const AnnotatedGraph<W>& graph, EmptyLuneMemory<T>& memory)
      : D_(D),
        n_(n),
        reach_(reach),
        order_(order),
        graph_(graph),
        memory_(memory),
        next_listing_(2 * n) {}

  // Whether the list is made, after so many edges were swept. It is tried when their number has
  // doubled.
  bool are_listed(std::size_t swept) {
    if (!listed_ && swept >= next_listing_) {
      next_listing_ = 2 * swept;
      listed_ = list(n_ * (n_ - 1) / 2 - swept);
    }
    return listed_;
  }

  // The first on the list that does not come before `e`, or none. Each `e` must follow the last.
  const FiltrationEdge<T>* first_from(const FiltrationEdge<T>& e) {
    const auto& edges = memory_.edges;
    while (next_ < edges.size() && edges[next_] < e) ++next_;
    return next_ < edges.size() ? &edges[next_] : nullptr;
  }

 private:
  // Lists all edges with an empty lune that were not swept yet, and perhaps some whose lune holds
  // vertices by a tie of lengths alone: a stop too many costs little. Returns false where the list
  // would take longer than to sweep the `to_come` edges.
  bool list(std::size_t to_come) {
    if (find_open_pairs() > to_come / kEdgesPerLook) return false;
    memory_.edges.clear();
    for (Vertex i = 0; i < n_; ++i)
      for (std::size_t w = i / 64; w < words_for(n_); ++w)
        for (Word left = memory_.open[i * graph_.width() + w]; left; left &= left - 1)
          append_if_empty(i, static_cast<Vertex>(w * 64 + lowest_bit(left)));
    std::sort(memory_.edges.begin(), memory_.edges.end());
    return true;
  }

  void append_if_empty(Vertex i, Vertex j) {
    if (graph_.have_common_neighbour(i, j)) return;
    checkpoint_.pass();
    const Vertex a = order_[i];
    const Vertex b = order_[j];
    const auto e = filtration_edge(D_[a * n_ + b], make_edge(a, b));
    if (e.length <= reach_ && !lunes::any_nearer_than(D_, n_, e)) memory_.edges.push_back(e);
  }

  // Marks the open pairs, and returns how many they are.
  std::size_t find_open_pairs() {
    memory_.open.resize(n_ * graph_.width());
    std::size_t count = 0;
    for (Vertex i = 0; i < n_; ++i) {
      Word* const open = memory_.open.data() + i * graph_.width();
      find_open(i, open);
      for (std::size_t w = i / 64; w < words_for(n_); ++w)
        count += static_cast<std::size_t>(__builtin_popcountll(open[w]));
    }
    return count;
  }

  // The vertices after i that neither i nor its most central neighbours have as a neighbour.
  void find_open(Vertex i, Word* open) const {
    const Word* const row = graph_.neighbours(i);
    for (std::size_t w = i / 64; w < words_for(n_); ++w) open[w] = ~row[w] & vertices_after(i, w);
    std::size_t asked = 0;
    for (std::size_t w = 0; w < words_for(n_); ++w)
      for (Word left = row[w]; left; left &= left - 1) {
        const Word* const more = graph_.neighbours(w * 64 + lowest_bit(left));
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

  // How many neighbours of a vertex are asked for theirs.
  static constexpr std::size_t kAsked = 8;
  // How many edges are swept in the time of a look at an open pair.
  static constexpr std::size_t kEdgesPerLook = 2;

  const T* D_;
  std::size_t n_;
  T reach_;
  const std::vector<Vertex>& order_;
  const AnnotatedGraph<W>& graph_;
  EmptyLuneMemory<T>& memory_;
  std::size_t next_listing_;
  bool listed_ = false;
  std::size_t next_ = 0;
  Checkpoint checkpoint_{64};
};

}  // namespace tsl::TSL_TARGET::empty_lunes

#endif
