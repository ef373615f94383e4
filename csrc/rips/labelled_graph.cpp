#include "rips/labelled_graph.hpp"

#include <algorithm>

namespace tsl::rips {

void LabelledGraph::reset(std::size_t n, const SweepRecord& record, std::size_t count) {
  n_ = n;
  words_ = words_for(n);
  edges_ = record.edges.data();
  added_ = 0;
  if (pairs_size_ < n * n) {
    neighbours_.reset(new Neighbour[n * n]);
    place_of_.reset(new std::uint32_t[n * n]);
    pairs_size_ = n * n;
  }
  degree_.assign(n, 0);
  adjacent_.assign(n * words_, 0);

  sums_.assign(record.generators.size(), {nullptr, nullptr});
  for (const SweepRecord::Death& death : record.deaths)
    sums_[death.generator] = {record.sums.data() + death.begin, record.sums.data() + death.end};
  places_.clear();
  bit_of_.clear();

  width_ = width_for(record);
  first_labelled_ = 0;
  if (labels_size_ < count * width_) {
    labels_.reset(new Word[count * width_]);
    labels_size_ = count * width_;
  }
  zero_.assign(width_, 0);
  alive_.assign(width_, 0);
  unused_.assign(width_, ~Word{0});
  count_alive_ = 0;
}

bool LabelledGraph::find_witness(Vertex i, Vertex j, Vertex& witness) const {
  const Word* const a = row(i);
  const Word* const b = row(j);
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
  Vertex k = 0;
  if (count_alive_ == 0) {
    // Every loop is a boundary.
    first_labelled_ = added_;
  } else if (find_witness(i, j, k)) {
    const Word* const ik = label(place_of(i, k));
    const Word* const kj = label(place_of(k, j));
    Word* const sum = last_label();
    for (std::size_t w = 0; w < width_; ++w) sum[w] = ik[w] ^ kj[w];
  } else {
    // It joins two components.
    std::fill_n(last_label(), width_, Word{0});
  }
  connect(place);
}

void LabelledGraph::give_birth() {
  const std::size_t place = added_++;
  const std::size_t generator = places_.size();
  if (count_alive_++ == 0) {
    first_labelled_ = place;
    std::fill(unused_.begin(), unused_.end(), ~Word{0});
  }
  const std::size_t bit = take_bit();
  places_.push_back(static_cast<std::uint32_t>(place));
  bit_of_.push_back(static_cast<std::uint32_t>(bit));
  Word* const own = last_label();
  std::fill_n(own, width_, Word{0});
  // It is what its bit stands for and the other generators of that sum, which are older.
  const Sum sum = sums_[generator];
  for (const Generator* other = sum.begin; other != sum.end; ++other) {
    if (*other == generator) continue;
    const Word* const theirs = label(places_[*other]);
    for (std::size_t w = 0; w < width_; ++w) own[w] ^= theirs[w];
  }
  own[bit / 64] |= Word{1} << (bit % 64);
  alive_[bit / 64] |= Word{1} << (bit % 64);
  connect(place);
}

void LabelledGraph::kill(Generator generator) {
  const std::size_t bit = bit_of_[generator];
  alive_[bit / 64] &= ~(Word{1} << (bit % 64));
  --count_alive_;
}

// A bit that no label has. Where none is left, those of the dead are cleared.
std::size_t LabelledGraph::take_bit() {
  for (;;) {
    for (std::size_t w = 0; w < width_; ++w) {
      if (!unused_[w]) continue;
      const unsigned bit = lowest_bit(unused_[w]);
      unused_[w] &= unused_[w] - 1;
      return w * 64 + bit;
    }
    const std::size_t labelled = added_ - 1 - first_labelled_;
    for (std::size_t k = 0; k < labelled; ++k)
      for (std::size_t w = 0; w < width_; ++w) labels_[k * width_ + w] &= alive_[w];
    for (std::size_t w = 0; w < width_; ++w) unused_[w] = ~alive_[w];
  }
}

void LabelledGraph::connect(std::size_t place) {
  const Vertex i = first(edges_[place]);
  const Vertex j = second(edges_[place]);
  connect(i, j, place);
  connect(j, i, place);
}

void LabelledGraph::connect(Vertex from, Vertex to, std::size_t place) {
  adjacent_[from * words_ + to / 64] |= Word{1} << (to % 64);
  place_of_[from * n_ + to] = static_cast<std::uint32_t>(place);
  neighbours_[from * n_ + degree_[from]++] = {to, static_cast<std::uint32_t>(place)};
}

}  // namespace tsl::rips
