// The minimum spanning forest as a rooted one, in which ways between vertices are read off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rips/bar.hpp"
#include "rips/filtration.hpp"

namespace tsl::rips {

class SpanningForest {
 public:
  // The edges of the forest on n vertices are the deaths of H0.
  void hang(std::size_t n, const Barcode& h0) {
    lists_.assign(n, kNone);
    links_.clear();
    for (const Bar& bar : h0.bars) {
      link(first(bar.death), second(bar.death));
      link(second(bar.death), first(bar.death));
    }
    depth_.assign(n, kNone);
    parent_.resize(n);
    for (Vertex root = 0; root < n; ++root)
      if (depth_[root] == kNone) hang_below(root);
  }

  // Calls visit(edge) for each edge of the forest between two vertices of one tree.
  template <class Visit>
  void for_each_between(Vertex i, Vertex j, Visit visit) const {
    while (i != j) {
      Vertex& lower = depth_[i] > depth_[j] ? i : j;
      visit(make_edge(lower, parent_[lower]));
      lower = parent_[lower];
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
    depth_[root] = 0;
    waiting_.assign(1, root);
    while (!waiting_.empty()) {
      const Vertex v = waiting_.back();
      waiting_.pop_back();
      for (std::uint32_t at = lists_[v]; at != kNone; at = links_[at].next) {
        const Vertex child = links_[at].to;
        if (depth_[child] != kNone) continue;
        depth_[child] = depth_[v] + 1;
        parent_[child] = v;
        waiting_.push_back(child);
      }
    }
  }

  std::vector<std::uint32_t> lists_;
  std::vector<Link> links_;
  std::vector<Vertex> parent_;
  std::vector<std::uint32_t> depth_;
  std::vector<Vertex> waiting_;
};

}  // namespace tsl::rips
