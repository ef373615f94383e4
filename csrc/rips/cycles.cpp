#include "rips/cycles.hpp"

#include <algorithm>

#include "platform/stop.hpp"

namespace tsl::rips {

template <class T>
void CycleFinder<T>::find(const T* D, std::size_t n, const Barcode& h0, const SweepRecord& record,
                          bool shorten, std::size_t most, std::size_t room, Cycles& cycles) {
  D_ = D;
  n_ = n;
  record_ = &record;
  shorten_ = shorten;
  cycles_ = &cycles;
  cycles.clear();
  // A call that was stopped may have left edges.
  begin_cycle();
  if (record.generators.empty()) return;
  forest_.hang(n, h0);
  died_.assign(record.generators.size(), 0);
  choose(most);
  if (shorten) {
    follow_sweep(room);
  } else {
    const Death* const end = record.deaths.data() + record.deaths.size();
    for (const Death* death = record.deaths.data(); death != end;) death = kill_together(death);
  }
  represent_essential();
}

// Chooses the classes whose cycles are wanted: those that never die, then the longest bars, of
// equally long ones the first.
template <class T>
void CycleFinder<T>::choose(std::size_t most) {
  is_chosen_.assign(record_->generators.size(), 1);
  bars_.clear();
  for (const Death& death : record_->deaths) {
    is_chosen_[death.generator] = 0;
    if (has_length(death)) bars_.push_back(&death);
  }
  for (char& is_chosen : is_chosen_) {
    if (is_chosen && most == 0) is_chosen = 0;
    if (is_chosen) --most;
  }
  if (most < bars_.size()) {
    std::nth_element(bars_.begin(), bars_.begin() + static_cast<std::ptrdiff_t>(most), bars_.end(),
                     [this](const Death* a, const Death* b) { return comes_first(*a, *b); });
    bars_.resize(most);
  }
  for (const Death* bar : bars_) is_chosen_[bar->generator] = 1;
}

template <class T>
bool CycleFinder<T>::comes_first(const Death& a, const Death& b) const {
  const T length_a = lifetime(a);
  const T length_b = lifetime(b);
  if (length_a != length_b) return length_a > length_b;
  return a.edge == b.edge ? a.generator < b.generator : &a < &b;
}

// Gives the edges their labels as the sweep went, and represents each bar at its death.
template <class T>
void CycleFinder<T>::follow_sweep(std::size_t room) {
  const std::vector<Edge>& edges = record_->edges;
  const std::vector<Edge>& generators = record_->generators;
  // Younger ones than the last that is chosen need no labels.
  std::size_t last = generators.size();
  while (last > 0 && !is_chosen_[last - 1]) --last;
  std::size_t count = last > 0 ? edges.size() : 0;
  while (last > 0 && edges[count - 1] != generators[last - 1]) --count;
  const std::size_t bytes = LabelledGraph::bytes(n_, *record_, count);
  if (bytes > room) throw NoRoom{n_, bytes};
  graph_.reset(n_, *record_, count);
  search_.reset(D_, n_, graph_);
  const Death* death = record_->deaths.data();
  const Death* const end = death + record_->deaths.size();
  born_ = 0;
  Checkpoint checkpoint(256);
  for (std::size_t place = 0; place < count; ++place) {
    checkpoint.pass();
    if (edges[place] == generators[born_]) {
      graph_.give_birth();
      ++born_;
    } else {
      graph_.add_next();
      if (death != end && death->edge == edges[place]) death = kill_together(death);
    }
  }
  while (death != end) death = kill_together(death);
}

// Represents the bars that end at the edge of a death, in order of birth; returns the next death.
template <class T>
const SweepRecord::Death* CycleFinder<T>::kill_together(const Death* death) {
  const Death* const end = record_->deaths.data() + record_->deaths.size();
  const Edge edge = death->edge;
  together_.clear();
  for (; death != end && death->edge == edge; ++death) {
    if (shorten_ && death->generator < born_) graph_.kill(death->generator);
    died_[death->generator] = 1;
    if (has_length(*death)) together_.push_back(death);
  }
  std::sort(together_.begin(), together_.end(),
            [](const Death* a, const Death* b) { return a->generator < b->generator; });
  for (const Death* each : together_) represent_bar(*each);
  return death;
}

template <class T>
bool CycleFinder<T>::has_length(const Death& death) const {
  return lifetime(death) > 0;
}

template <class T>
T CycleFinder<T>::lifetime(const Death& death) const {
  const Edge birth = record_->generators[death.generator];
  return D_[first(death.edge) * n_ + second(death.edge)] - D_[first(birth) * n_ + second(birth)];
}

template <class T>
void CycleFinder<T>::represent_bar(const Death& death) {
  // With the label of the generator a way makes a loop that is zero.
  const Generator g = death.generator;
  if (!is_chosen_[g]) return write_cycle();
  if (shorten_ && add_short_loop(g, graph_.label(graph_.place(g)))) return write_cycle();
  const bool is_short = shorten_ && death.end - death.begin <= kMostShortened;
  for (std::size_t k = death.begin; k < death.end; ++k)
    if (!is_short || !add_short_loop(record_->sums[k], graph_.zero()))
      add_forest_loop(record_->sums[k]);
  write_cycle();
}

// Any loop whose youngest edge is the generator represents it.
template <class T>
void CycleFinder<T>::represent_essential() {
  for (Generator generator = 0; generator < record_->generators.size(); ++generator) {
    if (died_[generator]) continue;
    if (is_chosen_[generator] && !(shorten_ && add_short_loop(generator, nullptr)))
      add_forest_loop(generator);
    write_cycle();
  }
}

// The generator and a short way between its ends, if one was found whose labels sum to `target`.
template <class T>
bool CycleFinder<T>::add_short_loop(Generator generator, const Word* target) {
  // A search may take as long as thousands of edges.
  Checkpoint(1).pass();
  if (!search_.find(graph_.place(generator), target)) return false;
  for (const std::uint32_t place : search_.way()) add_edge(graph_.edge(place));
  add_edge(record_->generators[generator]);
  is_sorted_ = false;
  return true;
}

// The generator and the way between its ends by the forest, all annotations of which are zero.
template <class T>
void CycleFinder<T>::add_forest_loop(Generator generator) {
  const Edge closing = record_->generators[generator];
  add_edge(closing);
  forest_.add_way(first(closing), second(closing));
  has_ways_ = true;
}

template <class T>
void CycleFinder<T>::add_edge(Edge e) {
  cycle_.push_back(filtration_edge(D_[first(e) * n_ + second(e)], e));
}

// Writes the edges that were added an odd number of times, in filtration order.
template <class T>
void CycleFinder<T>::write_cycle() {
  const auto ways = static_cast<std::ptrdiff_t>(cycle_.size());
  if (has_ways_) forest_.take_sum([this](Edge e) { add_edge(e); });
  // Generators come in this order, and so does the sum of the ways.
  if (is_sorted_)
    std::inplace_merge(cycle_.begin(), cycle_.begin() + ways, cycle_.end());
  else
    std::sort(cycle_.begin(), cycle_.end());
  for (std::size_t k = 0; k < cycle_.size(); ++k) {
    if (k + 1 < cycle_.size() && cycle_[k].edge == cycle_[k + 1].edge)
      ++k;
    else
      cycles_->edges.push_back(cycle_[k].edge);
  }
  cycles_->ends.push_back(cycles_->edges.size());
  begin_cycle();
}

template <class T>
void CycleFinder<T>::begin_cycle() {
  cycle_.clear();
  is_sorted_ = true;
  has_ways_ = false;
}

template class CycleFinder<float>;
template class CycleFinder<double>;

}  // namespace tsl::rips
