// The minimum spanning forest, and sums of ways in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rips/bar.hpp"
#include "rips/filtration.hpp"

namespace tsl::rips {

class SpanningForest {
 public:
  // The edges of the forest on n vertices are the deaths of H0, in filtration order.
  void hang(std::size_t n, const Barcode& h0) {
    lists_.assign(n, kNone);
    links_.clear();
    for (const Bar& bar : h0.bars) {
      link(first(bar.death), second(bar.death));
      link(second(bar.death), first(bar.death));
    }
    is_end_.assign(n, 0);
    parents_.assign(n, kNone);
    descending_.clear();
    for (Vertex root = 0; root < n; ++root)
      if (parents_[root] == kNone) hang_below(root);
    lower_ends_.clear();
    for (const Bar& bar : h0.bars) {
      const Vertex i = first(bar.death);
      lower_ends_.push_back(parents_[i] == second(bar.death) ? i : second(bar.death));
    }
  }

  // Adds the way between two vertices of one tree to a sum mod 2.
  void add_way(Vertex i, Vertex j) {
    is_end_[i] ^= 1;
    is_end_[j] ^= 1;
  }

  // Calls visit(edge) for each edge of the sum, in filtration order; the sum is zero then.
  //
  // Ways cross the edge above a vertex as often, mod 2, as they end below it.
  template <class Visit>
  void take_sum(Visit visit) {
    for (std::size_t k = descending_.size(); k-- > 0;) {
      const Vertex v = descending_[k];
      if (parents_[v] != v) is_end_[parents_[v]] ^= is_end_[v];
    }
    for (const Vertex v : lower_ends_) {
      if (is_end_[v]) visit(make_edge(v, parents_[v]));
      is_end_[v] = 0;
    }
  }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  // A neighbour in the forest, and the next in the list of the same vertex.
  struct Link {
    Vertex to;
    std::uint32_t next;
  };

  void link(Vertex from, Vertex to) {
    links_.push_back({to, lists_[from]});
    lists_[from] = static_cast<std::uint32_t>(links_.size() - 1);
  }

  void hang_below(Vertex root) {
    parents_[root] = root;
    std::size_t next = descending_.size();
    for (descending_.push_back(root); next < descending_.size(); ++next)
      for (std::uint32_t at = lists_[descending_[next]]; at != kNone; at = links_[at].next) {
        const Vertex child = links_[at].to;
        if (parents_[child] != kNone) continue;
        parents_[child] = descending_[next];
        descending_.push_back(child);
      }
  }

  std::vector<std::uint32_t> lists_;
  std::vector<Link> links_;
  // A root is its own parent.
  std::vector<Vertex> parents_;
  // Each vertex behind its parent.
  std::vector<Vertex> descending_;
  // For each edge the end of which the other is the parent.
  std::vector<Vertex> lower_ends_;
  // Whether an odd number of ways of the sum ends at each vertex; while it is taken, below it.
  std::vector<unsigned char> is_end_;
};

}  // namespace tsl::rips
