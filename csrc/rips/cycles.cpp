#include "rips/cycles.hpp"

#include <algorithm>

#include "platform/stop.hpp"

namespace tsl::rips {

template <class T>
void CycleFinder<T>::find(const T* D, std::size_t n, const Barcode& h0, const SweepRecord& record,
                          bool shorten, Cycles& cycles) {
  D_ = D;
  n_ = n;
  record_ = &record;
  shorten_ = shorten;
  cycles_ = &cycles;
  cycles.clear();
  // A call that was stopped may have left edges.
  cycle_.clear();
  if (record.generators.empty()) return;
  forest_.hang(n, h0);
  died_.assign(record.generators.size(), 0);
  if (shorten) {
    follow_sweep();
  } else {
    const Death* const end = record.deaths.data() + record.deaths.size();
    for (const Death* death = record.deaths.data(); death != end;) death = kill_together(death);
  }
  represent_essential();
}

// Gives the edges their labels as the sweep went, and represents each bar at its death.
template <class T>
void CycleFinder<T>::follow_sweep() {
  const std::vector<Edge>& edges = record_->edges;
  std::size_t count = edges.size();
  while (edges[count - 1] != record_->generators.back()) --count;
  graph_.reset(n_, *record_, count);
  search_.reset(D_, n_, graph_);
  zero_.assign(graph_.width(), 0);
  place_of_.resize(record_->generators.size());
  const Death* death = record_->deaths.data();
  const Death* const end = death + record_->deaths.size();
  Generator born = 0;
  Checkpoint checkpoint(256);
  for (std::size_t place = 0; place < count; ++place) {
    checkpoint.pass();
    graph_.add_next();
    if (edges[place] == record_->generators[born]) {
      place_of_[born] = place;
      graph_.give_birth(born++);
    } else if (death != end && death->edge == edges[place]) {
      death = kill_together(death);
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
    if (shorten_) graph_.kill(*death);
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
  const Edge birth = record_->generators[death.generator];
  return D_[first(birth) * n_ + second(birth)] < D_[first(death.edge) * n_ + second(death.edge)];
}

template <class T>
void CycleFinder<T>::represent_bar(const Death& death) {
  // The label of the generator is the rest of the sum that became zero: a way of that label makes
  // a loop that is zero.
  const Word* const rest = shorten_ ? graph_.label(place_of_[death.generator]) : nullptr;
  const std::size_t width = zero_.size();
  if (add_short_loop(death.generator, rest, width)) return write_cycle();
  const bool is_short = death.end - death.begin <= kMostShortened;
  for (std::size_t k = death.begin; k < death.end; ++k)
    if (!is_short || !add_short_loop(record_->sums[k], zero_.data(), width))
      add_forest_loop(record_->sums[k]);
  write_cycle();
}

// Any loop whose youngest edge is the generator represents it.
template <class T>
void CycleFinder<T>::represent_essential() {
  for (Generator generator = 0; generator < record_->generators.size(); ++generator) {
    if (died_[generator]) continue;
    if (!add_short_loop(generator, nullptr, 0)) add_forest_loop(generator);
    write_cycle();
  }
}

// The generator and a short way between its ends whose labels sum to `target`, if one was found.
template <class T>
bool CycleFinder<T>::add_short_loop(Generator generator, const Word* target, std::size_t width) {
  if (!shorten_) return false;
  // A search may take as long as thousands of edges.
  Checkpoint(1).pass();
  if (!search_.find(place_of_[generator], target, width)) return false;
  add_edge(record_->generators[generator]);
  for (const std::uint32_t place : search_.way()) add_edge(graph_.edge(place));
  return true;
}

// The generator and the way between its ends by the forest, all labels of which are zero.
template <class T>
void CycleFinder<T>::add_forest_loop(Generator generator) {
  const Edge closing = record_->generators[generator];
  add_edge(closing);
  forest_.for_each_between(first(closing), second(closing), [this](Edge e) { add_edge(e); });
}

template <class T>
void CycleFinder<T>::add_edge(Edge e) {
  cycle_.push_back(filtration_edge(D_[first(e) * n_ + second(e)], e));
}

// Writes the edges that were added an odd number of times, in filtration order.
template <class T>
void CycleFinder<T>::write_cycle() {
  std::sort(cycle_.begin(), cycle_.end());
  for (std::size_t k = 0; k < cycle_.size(); ++k) {
    if (k + 1 < cycle_.size() && cycle_[k].edge == cycle_[k + 1].edge)
      ++k;
    else
      cycles_->edges.push_back(cycle_[k].edge);
  }
  cycles_->ends.push_back(cycles_->edges.size());
  cycle_.clear();
}

template class CycleFinder<float>;
template class CycleFinder<double>;

}  // namespace tsl::rips
