#include "rips/loop_search.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

namespace tsl::rips {

namespace {

template <std::size_t kWords>
using Words = std::integral_constant<std::size_t, kWords>;

template <class Width>
bool are_equal(const Word* a, const Word* b, Width width) {
  Word differ = 0;
  for (std::size_t w = 0; w < width; ++w) differ |= a[w] ^ b[w];
  return differ == 0;
}

}  // namespace

template <class T>
void LoopSearch<T>::reset(const T* D, std::size_t n, const LabelledGraph& graph) {
  D_ = D;
  n_ = n;
  graph_ = &graph;
  sum_.resize(graph.width());
  from_first_.newest.assign(n, kNone);
  from_second_.newest.assign(n, kNone);
  near_second_.resize(words_for(n));
  passed_.assign(n, 0);
  hops_.resize(n);
}

template <class T>
bool LoopSearch<T>::find(std::size_t closing, const Word* target, std::size_t width) {
  closing_ = closing;
  width_ = width;
  way_.clear();
  if (width == 0) return search(target, Words<0>{});
  if (width == 1) return search(target, Words<1>{});
  if (width == 2) return search(target, Words<2>{});
  return search(target, width);
}

template <class T>
template <class Width>
bool LoopSearch<T>::search(const Word* target, Width width) {
  is_simple_ = true;
  if (find_square(target, width)) return true;
  const bool found = find_shortest(target, width);
  forget(from_first_);
  forget(from_second_);
  if (!found) return false;
  is_simple_ = passes_no_vertex_twice();
  if (!is_simple_) find_simple(target);
  return true;
}

template <class T>
template <class Width>
bool LoopSearch<T>::find_square(const Word* target, Width width) {
  const Vertex i = first(graph_->edge(closing_));
  const Vertex j = second(graph_->edge(closing_));
  const std::size_t words = near_second_.size();
  std::fill(near_second_.begin(), near_second_.end(), Word{0});
  for (const Neighbour* at = graph_->neighbours(j); at->place < closing_; ++at)
    near_second_[at->vertex / 64] |= Word{1} << (at->vertex % 64);
  T least = std::numeric_limits<T>::infinity();
  for (const Neighbour* to = graph_->neighbours(i); to->place < closing_; ++to) {
    const Word* const near = graph_->row(to->vertex);
    for (std::size_t v = 0; v < words; ++v)
      for (Word left = near[v] & near_second_[v]; left; left &= left - 1) {
        const auto b = static_cast<Vertex>(v * 64 + lowest_bit(left));
        const std::uint32_t by = graph_->place_of(to->vertex, b);
        if (by >= closing_) continue;
        const std::uint32_t last = graph_->place_of(b, j);
        const Word* const labels[] = {graph_->label(to->place), graph_->label(by),
                                      graph_->label(last)};
        Word missing = 0;
        for (std::size_t w = 0; w < width; ++w)
          missing |= labels[0][w] ^ labels[1][w] ^ labels[2][w] ^ target[w];
        if (missing) continue;
        const T length = length_of(to->place) + length_of(by) + length_of(last);
        if (!(length < least)) continue;
        least = length;
        way_.assign({to->place, by, last});
      }
  }
  return !way_.empty();
}

template <class T>
template <class Width>
bool LoopSearch<T>::find_shortest(const Word* target, Width width) {
  start(from_first_, first(graph_->edge(closing_)));
  start(from_second_, second(graph_->edge(closing_)));
  while (from_first_.states.size() + from_second_.states.size() < kMostStates) {
    const bool is_first = from_first_.level_size() <= from_second_.level_size();
    Side& side = is_first ? from_first_ : from_second_;
    if (meet(side, is_first ? from_second_ : from_first_, target, width)) return true;
    grow(side, width);
    if (side.level_size() == 0) return false;
  }
  return false;
}

template <class T>
void LoopSearch<T>::start(Side& side, Vertex v) {
  side.states.clear();
  side.states.push_back({v, kNone, 0, kNone, T{0}});
  side.sums.assign(width_, 0);
  side.newest[v] = 0;
  side.level = 0;
}

// Adds the states that one edge more leads to.
template <class T>
template <class Width>
void LoopSearch<T>::grow(Side& side, Width width) {
  const std::size_t begin = side.level;
  const std::size_t end = side.states.size();
  side.level = end;
  for (std::size_t from = begin; from < end && side.states.size() < kMostStates; ++from) {
    const State before = side.states[from];
    for (const Neighbour* by = graph_->neighbours(before.vertex); by->place < closing_; ++by) {
      const Word* const label = graph_->label(by->place);
      const Word* const sum = side.sums.data() + from * width;
      for (std::size_t w = 0; w < width; ++w) sum_[w] = sum[w] ^ label[w];
      const T length = before.length + length_of(by->place);
      const std::uint32_t known = find_state(side, by->vertex, sum_.data(), width);
      if (known == kNone) {
        const auto state = static_cast<std::uint32_t>(side.states.size());
        const std::uint32_t next = side.newest[by->vertex];
        side.newest[by->vertex] = state;
        side.states.push_back(
            {by->vertex, static_cast<std::uint32_t>(from), by->place, next, length});
        for (std::size_t w = 0; w < width; ++w) side.sums.push_back(sum_[w]);
      } else if (known >= end && length < side.states[known].length) {
        side.states[known].from = static_cast<std::uint32_t>(from);
        side.states[known].place = by->place;
        side.states[known].length = length;
      }
    }
  }
}

// Joins the ways from both ends where one edge more from the last level of a side leads to what the
// other has reached, if one does.
template <class T>
template <class Width>
bool LoopSearch<T>::meet(const Side& side, const Side& other, const Word* target, Width width) {
  std::uint32_t ours = kNone;
  std::uint32_t theirs = kNone;
  std::uint32_t between = 0;
  T least = std::numeric_limits<T>::infinity();
  for (std::size_t from = side.level; from < side.states.size(); ++from) {
    const Word* const sum = side.sums.data() + from * width;
    for (const Neighbour* by = graph_->neighbours(side.states[from].vertex); by->place < closing_;
         ++by) {
      if (other.newest[by->vertex] == kNone) continue;
      const Word* const label = graph_->label(by->place);
      for (std::size_t w = 0; w < width; ++w) sum_[w] = sum[w] ^ label[w] ^ target[w];
      const std::uint32_t met = find_state(other, by->vertex, sum_.data(), width);
      if (met == kNone) continue;
      const T length = side.states[from].length + length_of(by->place) + other.states[met].length;
      if (ours != kNone && !(length < least)) continue;
      least = length;
      ours = static_cast<std::uint32_t>(from);
      between = by->place;
      theirs = met;
    }
  }
  if (ours == kNone) return false;
  follow(side, ours);
  std::reverse(way_.begin(), way_.end());
  way_.push_back(between);
  follow(other, theirs);
  // The way begins at the first vertex of the edge.
  if (&side != &from_first_) std::reverse(way_.begin(), way_.end());
  return true;
}

// The state of a vertex with this sum, or kNone.
template <class T>
template <class Width>
std::uint32_t LoopSearch<T>::find_state(const Side& side, Vertex v, const Word* sum, Width width) {
  std::uint32_t state = side.newest[v];
  while (state != kNone && !are_equal(side.sums.data() + state * width, sum, width))
    state = side.states[state].next;
  return state;
}

// Appends the edges from a state back to where its side began.
template <class T>
void LoopSearch<T>::follow(const Side& side, std::uint32_t state) {
  for (; side.states[state].from != kNone; state = side.states[state].from)
    way_.push_back(side.states[state].place);
}

template <class T>
void LoopSearch<T>::forget(Side& side) {
  for (const State& state : side.states) side.newest[state.vertex] = kNone;
}

template <class T>
bool LoopSearch<T>::passes_no_vertex_twice() {
  bool twice = false;
  Vertex v = first(graph_->edge(closing_));
  passed_[v] = 1;
  for (const std::uint32_t place : way_) {
    const Edge e = graph_->edge(place);
    v = first(e) == v ? second(e) : first(e);
    twice |= passed_[v] != 0;
    passed_[v] = 1;
  }
  passed_[first(graph_->edge(closing_))] = 0;
  for (const std::uint32_t place : way_)
    passed_[first(graph_->edge(place))] = passed_[second(graph_->edge(place))] = 0;
  return !twice;
}

// Looks for a way that passes no vertex twice, of as many edges as the one that does, and of more
// and more. Without any it leaves that one.
template <class T>
void LoopSearch<T>::find_simple(const Word* target) {
  const Vertex begin = first(graph_->edge(closing_));
  measure_hops(second(graph_->edge(closing_)));
  std::copy_n(target, width_, sum_.begin());
  trail_.clear();
  steps_ = 0;
  least_ = std::numeric_limits<T>::infinity();
  passed_[begin] = 1;
  for (std::size_t edges = way_.size(); edges < reached_.size() && steps_ < kMostSteps; ++edges) {
    extend(begin, edges, T{0});
    if (is_simple_) break;
  }
  passed_[begin] = 0;
}

// By how few edges before the closing one each vertex is reached from the end of the way.
template <class T>
void LoopSearch<T>::measure_hops(Vertex end) {
  std::fill(hops_.begin(), hops_.end(), kNone);
  hops_[end] = 0;
  reached_.assign(1, end);
  for (std::size_t k = 0; k < reached_.size(); ++k)
    for (const Neighbour* by = graph_->neighbours(reached_[k]); by->place < closing_; ++by) {
      if (hops_[by->vertex] != kNone) continue;
      hops_[by->vertex] = hops_[reached_[k]] + 1;
      reached_.push_back(by->vertex);
    }
}

template <class T>
void LoopSearch<T>::extend(Vertex v, std::size_t edges_left, T length) {
  for (const Neighbour* by = graph_->neighbours(v); by->place < closing_; ++by) {
    if (passed_[by->vertex] || hops_[by->vertex] >= edges_left) continue;
    if (++steps_ >= kMostSteps) return;
    const T longer = length + length_of(by->place);
    if (!(longer < least_)) continue;
    trail_.push_back(by->place);
    add_to_sum(by->place);
    if (hops_[by->vertex] != 0) {
      passed_[by->vertex] = 1;
      extend(by->vertex, edges_left - 1, longer);
      passed_[by->vertex] = 0;
    } else if (std::all_of(sum_.begin(), sum_.begin() + static_cast<std::ptrdiff_t>(width_),
                           [](Word word) { return word == 0; })) {
      way_ = trail_;
      least_ = longer;
      is_simple_ = true;
    }
    add_to_sum(by->place);
    trail_.pop_back();
  }
}

template <class T>
void LoopSearch<T>::add_to_sum(std::size_t place) {
  const Word* const label = graph_->label(place);
  for (std::size_t w = 0; w < width_; ++w) sum_[w] ^= label[w];
}

template class LoopSearch<float>;
template class LoopSearch<double>;

}  // namespace tsl::rips
