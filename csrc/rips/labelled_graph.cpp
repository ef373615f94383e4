#include "rips/labelled_graph.hpp"

#include <algorithm>

namespace tsl::rips {

void LabelledGraph::reset(std::size_t n, const SweepRecord& record, std::size_t count) {
  n_ = n;
  count_ = count;
  words_ = words_for(n);
  width_ = words_for(record.most_alive);
  edges_ = record.edges.data();
  sums_ = record.sums.data();
  added_ = 0;
  list_neighbours();
  adjacent_.assign(n * words_, 0);
  if (place_of_.size() < n * (n - 1) / 2) place_of_.resize(n * (n - 1) / 2);

  first_labelled_ = 0;
  if (labels_.size() < count * width_) labels_.resize(count * width_);
  zero_.assign(width_, 0);
  sum_.resize(width_);
  alive_ = 0;
  label_words_ = words_for(count);
  if (holders_.size() < record.most_alive * label_words_)
    holders_.resize(record.most_alive * label_words_);
  bit_of_.resize(record.generators.size());
  free_bits_.clear();
  for (std::size_t bit = record.most_alive; bit-- > 0;)
    free_bits_.push_back(static_cast<std::uint32_t>(bit));
}

void LabelledGraph::list_neighbours() {
  starts_.assign(n_ + 1, 1);
  starts_[0] = 0;
  for (std::size_t place = 0; place < count_; ++place) {
    ++starts_[first(edges_[place]) + 1];
    ++starts_[second(edges_[place]) + 1];
  }
  for (std::size_t v = 0; v < n_; ++v) starts_[v + 1] += starts_[v];
  neighbours_.resize(starts_[n_]);
  // While listing, each vertex writes where its list begins.
  for (std::size_t place = 0; place < count_; ++place) {
    const Vertex i = first(edges_[place]);
    const Vertex j = second(edges_[place]);
    neighbours_[starts_[i]++] = {j, static_cast<std::uint32_t>(place)};
    neighbours_[starts_[j]++] = {i, static_cast<std::uint32_t>(place)};
  }
  for (std::size_t v = 0; v < n_; ++v) neighbours_[starts_[v]] = {0, kEnd};
  for (std::size_t v = n_; v-- > 0;) starts_[v] = v > 0 ? starts_[v - 1] + 1 : 0;
}

bool LabelledGraph::find_witness(Vertex i, Vertex j, Vertex& witness) const {
  const Word* const a = adjacent_.data() + i * words_;
  const Word* const b = adjacent_.data() + j * words_;
  for (std::size_t w = 0; w < words_; ++w) {
    const Word lune = a[w] & b[w];
    if (!lune) continue;
    witness = static_cast<Vertex>(w * 64 + lowest_bit(lune));
    return true;
  }
  return false;
}

void LabelledGraph::add_next() {
  const std::size_t place = added_++;
  const Vertex i = first(edges_[place]);
  const Vertex j = second(edges_[place]);
  if (alive_ == 0) {
    // Every loop is a boundary.
    first_labelled_ = added_;
  } else {
    Vertex k = 0;
    if (find_witness(i, j, k)) {
      const Word* const ik = label(place_of(i, k));
      const Word* const kj = label(place_of(k, j));
      for (std::size_t w = 0; w < width_; ++w) last_label()[w] = ik[w] ^ kj[w];
      note_holders(place);
    } else {
      // It joins two components, or is a generator, which will be said.
      std::fill_n(last_label(), width_, Word{0});
    }
  }
  place_of_[pair(i, j)] = static_cast<std::uint32_t>(place);
  adjacent_[i * words_ + j / 64] |= Word{1} << (j % 64);
  adjacent_[j * words_ + i / 64] |= Word{1} << (i % 64);
}

void LabelledGraph::give_birth(Generator generator) {
  if (alive_++ == 0) {
    first_labelled_ = added_ - 1;
    std::fill_n(last_label(), width_, Word{0});
  }
  const std::uint32_t bit = free_bits_.back();
  free_bits_.pop_back();
  bit_of_[generator] = bit;
  last_label()[bit / 64] |= Word{1} << (bit % 64);
  std::fill_n(holders(bit), label_words_, Word{0});
  note_holders(added_ - 1);
}

// Enters a label that is new where its bits say.
void LabelledGraph::note_holders(std::size_t place) {
  const std::size_t at = place - first_labelled_;
  for (std::size_t w = 0; w < width_; ++w)
    for (Word left = label(place)[w]; left; left &= left - 1)
      holders(w * 64 + lowest_bit(left))[at / 64] |= Word{1} << (at % 64);
}

void LabelledGraph::kill(const SweepRecord::Death& death) {
  const std::uint32_t bit = bit_of_[death.generator];
  free_bits_.push_back(bit);
  if (--alive_ == 0) {
    first_labelled_ = added_;
    return;
  }
  std::fill(sum_.begin(), sum_.end(), Word{0});
  const Word* const changed = holders(bit);
  const std::size_t words = words_for(added_ - first_labelled_);
  for (std::size_t k = death.begin; k < death.end; ++k) {
    const std::uint32_t other = bit_of_[sums_[k]];
    sum_[other / 64] ^= Word{1} << (other % 64);
    if (other == bit) continue;
    for (std::size_t w = 0; w < words; ++w) holders(other)[w] ^= changed[w];
  }
  // The label that names the generator names the rest of the sum instead.
  for (std::size_t w = 0; w < words; ++w)
    for (Word left = changed[w]; left; left &= left - 1) {
      Word* const label = labels_.data() + (w * 64 + lowest_bit(left)) * width_;
      for (std::size_t v = 0; v < width_; ++v) label[v] ^= sum_[v];
    }
}

}  // namespace tsl::rips
