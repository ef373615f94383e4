#include "rips/loop_search.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

namespace tsl::rips {

namespace {

template <std::size_t kWords>
using Words = std::integral_constant<std::size_t, kWords>;

unsigned count_bits(Word word) { return static_cast<unsigned>(__builtin_popcountll(word)); }

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
  for (Side* side : {&from_first_, &from_second_}) {
    side->reached.assign(n, Reached{});
    side->states.resize(kMostStates + n);
    side->sums.resize((kMostStates + n) * graph.width());
  }
  zero_.assign(graph.width(), 0);
  near_second_.resize(words_for(n));
  last_.resize(n);
  last_sums_.resize(n * graph.width());
  passed_.assign(n, 0);
  hops_.resize(n);
}

template <class T>
bool LoopSearch<T>::find(std::size_t closing, const Word* target) {
  way_.clear();
  closing_ = closing;
  alive_ = graph_->alive();
  width_ = target ? graph_->width() : 0;
  while (width_ > 0 && !alive_[width_ - 1]) --width_;
  telling_ = 0;
  for (std::size_t w = 1; w < width_; ++w)
    if (count_bits(alive_[w]) > count_bits(alive_[telling_])) telling_ = w;
  if (width_ == 0) return search(target, Words<0>{});
  if (width_ == 1) return search(target, Words<1>{});
  if (width_ == 2) return search(target, Words<2>{});
  if (width_ == 3) return search(target, Words<3>{});
  if (width_ == 4) return search(target, Words<4>{});
  if (width_ == 5) return search(target, Words<5>{});
  if (width_ == 6) return search(target, Words<6>{});
  return search(target, width_);
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
  std::fill(near_second_.begin(), near_second_.end(), Word{0});
  for_each_before(j, [&](Neighbour last) {
    const Vertex b = last.vertex;
    near_second_[b / 64] |= Word{1} << (b % 64);
    last_[b] = last.place;
    const Word* const label = graph_->label(last.place);
    for (std::size_t w = 0; w < width; ++w) last_sums_[b * width + w] = label[w] ^ target[w];
  });
  std::uint32_t way[3] = {};
  bool found = false;
  T least = 0;
  for_each_before(i, [&](Neighbour to) {
    const Vertex a = to.vertex;
    const Word* const near = graph_->row(a);
    const Word* const label_to = graph_->label(to.place);
    const T length_to = D_[i * n_ + a];
    for (std::size_t v = 0; v < near_second_.size(); ++v)
      for (Word left = near[v] & near_second_[v]; left; left &= left - 1) {
        const auto b = static_cast<Vertex>(v * 64 + lowest_bit(left));
        const std::uint32_t by = graph_->place_of(a, b);
        if (by >= closing_) continue;
        const Word* const label_by = graph_->label(by);
        const Word* const last_sum = last_sums_.data() + b * width;
        Word missing = 0;
        for (std::size_t w = 0; w < width; ++w)
          missing |= (label_to[w] ^ label_by[w] ^ last_sum[w]) & alive_[w];
        if (missing) continue;
        const T length = length_to + D_[a * n_ + b] + D_[j * n_ + b];
        if (found && !(length < least)) continue;
        least = length;
        found = true;
        way[0] = to.place;
        way[1] = by;
        way[2] = last_[b];
      }
  });
  if (found) way_.assign(way, way + 3);
  return found;
}

// Ways of at least four edges.
template <class T>
template <class Width>
bool LoopSearch<T>::find_shortest(const Word* target, Width width) {
  start(from_first_, first(graph_->edge(closing_)), zero_.data(), width);
  start(from_second_, second(graph_->edge(closing_)), target, width);
  grow(from_first_, from_second_, width);
  grow(from_second_, from_first_, width);
  do {
    const bool is_first = from_first_.level_size() <= from_second_.level_size();
    Side& side = is_first ? from_first_ : from_second_;
    const Side& other = is_first ? from_second_ : from_first_;
    const Meeting meeting = grow(side, other, width);
    if (meeting.theirs != kNone) {
      join(side, other, meeting);
      return true;
    }
    if (side.level_size() == 0) return false;
  } while (from_first_.size + from_second_.size < kMostStates);
  return false;
}

template <class T>
template <class Width>
void LoopSearch<T>::start(Side& side, Vertex v, const Word* sum, Width width) {
  for (std::size_t w = 0; w < width; ++w) side.sums[w] = sum[w] & alive_[w];
  side.level = 0;
  side.size = 0;
  add_state(side, {v, kNone, 0, kNone, T{0}});
}

// Adds a state, whose sum stands behind those of the others.
template <class T>
void LoopSearch<T>::add_state(Side& side, const State& state) {
  Reached& reached = side.reached[state.vertex];
  const Word word = width_ ? side.sums[side.size * width_ + telling_] : 0;
  reached.any |= word;
  reached.all &= word;
  side.states[side.size] = state;
  side.states[side.size].next = reached.newest;
  reached.newest = static_cast<std::uint32_t>(side.size++);
}

// Adds the states that one edge more leads to, and looks for the least way by such an edge to what
// the other side has reached. Once there is one, no states are added.
template <class T>
template <class Width>
typename LoopSearch<T>::Meeting LoopSearch<T>::grow(Side& side, const Side& other, Width width) {
  const std::size_t begin = side.level;
  const std::size_t end = side.size;
  side.level = end;
  Meeting meeting;
  Word* sum = side.sums.data() + side.size * width;
  for (std::size_t from = begin; from < end; ++from) {
    const State before = side.states[from];
    const T* const lengths = D_ + before.vertex * n_;
    const Word* const sum_before = side.sums.data() + from * width;
    const auto from32 = static_cast<std::uint32_t>(from);
    bool is_full = side.size >= kMostStates;
    for_each_before(before.vertex, [&](Neighbour by) {
      const Word* const label = graph_->label(by.place);
      const Word word = width ? (sum_before[telling_] ^ label[telling_]) & alive_[telling_] : 0;
      const bool may_meet = other.reached[by.vertex].may_have(word);
      if (is_full && !may_meet) return;
      for (std::size_t w = 0; w < width; ++w) sum[w] = (sum_before[w] ^ label[w]) & alive_[w];
      const T length = before.length + lengths[by.vertex];
      const std::uint32_t met = may_meet ? find_state(other, by.vertex, sum, width) : kNone;
      if (met != kNone) {
        const T whole = length + other.states[met].length;
        if (meeting.theirs != kNone && !(whole < meeting.length)) return;
        meeting = {from32, met, by.place, whole};
      }
      if (is_full || meeting.theirs != kNone) return;
      const bool may_be_known = side.reached[by.vertex].may_have(word);
      const std::uint32_t known = may_be_known ? find_state(side, by.vertex, sum, width) : kNone;
      if (known == kNone) {
        add_state(side, {by.vertex, from32, by.place, kNone, length});
        sum += width;
      } else if (known >= end && length < side.states[known].length) {
        side.states[known].from = from32;
        side.states[known].place = by.place;
        side.states[known].length = length;
      }
    });
  }
  return meeting;
}

// The way through a meeting, which begins at the first vertex of the edge.
template <class T>
void LoopSearch<T>::join(const Side& side, const Side& other, const Meeting& meeting) {
  follow(side, meeting.ours);
  std::reverse(way_.begin(), way_.end());
  way_.push_back(meeting.between);
  follow(other, meeting.theirs);
  if (&side != &from_first_) std::reverse(way_.begin(), way_.end());
}

// The state of a vertex with this sum, or kNone.
template <class T>
template <class Width>
std::uint32_t LoopSearch<T>::find_state(const Side& side, Vertex v, const Word* sum,
                                        Width width) const {
  std::uint32_t state = side.reached[v].newest;
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
  for (std::size_t k = 0; k < side.size; ++k) side.reached[side.states[k].vertex] = Reached{};
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
    for_each_before(reached_[k], [&](Neighbour by) {
      if (hops_[by.vertex] != kNone) return;
      hops_[by.vertex] = hops_[reached_[k]] + 1;
      reached_.push_back(by.vertex);
    });
}

template <class T>
void LoopSearch<T>::extend(Vertex v, std::size_t edges_left, T length) {
  const Neighbour* const end = graph_->neighbours_end(v);
  for (const Neighbour* by = graph_->neighbours_begin(v); by != end && by->place < closing_; ++by) {
    if (passed_[by->vertex] || hops_[by->vertex] >= edges_left) continue;
    if (++steps_ >= kMostSteps) return;
    const T longer = length + D_[v * n_ + by->vertex];
    if (!(longer < least_)) continue;
    trail_.push_back(by->place);
    add_to_sum(by->place);
    if (hops_[by->vertex] != 0) {
      passed_[by->vertex] = 1;
      extend(by->vertex, edges_left - 1, longer);
      passed_[by->vertex] = 0;
    } else if (sum_is_zero()) {
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

template <class T>
bool LoopSearch<T>::sum_is_zero() const {
  Word counts = 0;
  for (std::size_t w = 0; w < width_; ++w) counts |= sum_[w] & alive_[w];
  return counts == 0;
}

template class LoopSearch<float>;
template class LoopSearch<double>;

}  // namespace tsl::rips
