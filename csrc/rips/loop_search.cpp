#include "rips/loop_search.hpp"

#include <algorithm>
#include <limits>

namespace tsl::rips {

namespace {

bool are_equal(const Word* a, const Word* b, std::size_t width) {
  for (std::size_t w = 0; w < width; ++w)
    if (a[w] != b[w]) return false;
  return true;
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
  passed_.assign(n, 0);
  hops_.resize(n);
}

template <class T>
bool LoopSearch<T>::find(std::size_t closing, const Word* target, std::size_t width) {
  closing_ = closing;
  width_ = width;
  way_.clear();
  const bool found = find_shortest(target);
  forget(from_first_);
  forget(from_second_);
  if (!found) return false;
  is_simple_ = passes_no_vertex_twice();
  if (!is_simple_) find_simple(target);
  return true;
}

template <class T>
bool LoopSearch<T>::find_shortest(const Word* target) {
  start(from_first_, first(graph_->edge(closing_)));
  start(from_second_, second(graph_->edge(closing_)));
  while (from_first_.states.size() + from_second_.states.size() < kMostStates) {
    const bool is_first = from_first_.level_size() <= from_second_.level_size();
    Side& side = is_first ? from_first_ : from_second_;
    grow(side);
    if (side.level_size() == 0) return false;
    if (meet(side, is_first ? from_second_ : from_first_, target)) return true;
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

template <class T>
void LoopSearch<T>::grow(Side& side) {
  const std::size_t begin = side.level;
  const std::size_t end = side.states.size();
  side.level = end;
  for (std::size_t from = begin; from < end && side.states.size() < kMostStates; ++from)
    for (const auto* by = graph_->neighbours(side.states[from].vertex); by->place < closing_; ++by)
      reach(side, static_cast<std::uint32_t>(from), *by);
}

template <class T>
void LoopSearch<T>::reach(Side& side, std::uint32_t from, const LabelledGraph::Neighbour& by) {
  const Word* const before = side.sums.data() + from * width_;
  const Word* const label = graph_->label(by.place);
  for (std::size_t w = 0; w < width_; ++w) sum_[w] = before[w] ^ label[w];
  const T length = side.states[from].length + length_of(by.place);
  const std::uint32_t known = find_state(side, by.vertex, sum_.data());
  if (known == kNone) {
    const auto state = static_cast<std::uint32_t>(side.states.size());
    side.states.push_back({by.vertex, from, by.place, side.newest[by.vertex], length});
    side.sums.insert(side.sums.end(), sum_.begin(), sum_.begin() + width_);
    side.newest[by.vertex] = state;
  } else if (known >= side.level && length < side.states[known].length) {
    State& state = side.states[known];
    state.from = from;
    state.place = by.place;
    state.length = length;
  }
}

template <class T>
std::uint32_t LoopSearch<T>::find_state(const Side& side, Vertex v, const Word* sum) const {
  std::uint32_t state = side.newest[v];
  while (state != kNone && !are_equal(side.sums.data() + state * width_, sum, width_))
    state = side.states[state].next;
  return state;
}

// Joins the ways from both ends where they meet first, if they do.
template <class T>
bool LoopSearch<T>::meet(const Side& grown, const Side& other, const Word* target) {
  std::uint32_t ours = kNone;
  std::uint32_t theirs = kNone;
  T least = std::numeric_limits<T>::infinity();
  for (std::size_t state = grown.level; state < grown.states.size(); ++state) {
    const Vertex v = grown.states[state].vertex;
    if (other.newest[v] == kNone) continue;
    const Word* const sum = grown.sums.data() + state * width_;
    for (std::size_t w = 0; w < width_; ++w) sum_[w] = sum[w] ^ target[w];
    const std::uint32_t met = find_state(other, v, sum_.data());
    if (met == kNone) continue;
    const T length = grown.states[state].length + other.states[met].length;
    if (ours != kNone && !(length < least)) continue;
    least = length;
    ours = static_cast<std::uint32_t>(state);
    theirs = met;
  }
  if (ours == kNone) return false;
  follow(grown, ours);
  std::reverse(way_.begin(), way_.end());
  follow(other, theirs);
  // The way begins at the first vertex of the edge.
  if (&grown != &from_first_) std::reverse(way_.begin(), way_.end());
  return true;
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
    for (const auto* by = graph_->neighbours(reached_[k]); by->place < closing_; ++by) {
      if (hops_[by->vertex] != kNone) continue;
      hops_[by->vertex] = hops_[reached_[k]] + 1;
      reached_.push_back(by->vertex);
    }
}

template <class T>
void LoopSearch<T>::extend(Vertex v, std::size_t edges_left, T length) {
  for (const auto* by = graph_->neighbours(v); by->place < closing_; ++by) {
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
