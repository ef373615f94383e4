#include "rips/attention_tree.hpp"

#include <algorithm>
#include <cstring>

#include "geometry/symmetry.hpp"

namespace tsl::rips {

namespace {

// Weights beyond 0 to 1 by rounding count as 0 and 1.
template <class T>
T apart(T weight) {
  return T{1} - std::min(std::max(weight, T{0}), T{1});
}

// The distances of the tokens of a square block, whose mirror image is at `mirrored`, are written
// to both places. Rows lie n entries apart in the map, `size` in D.
template <class T>
void measure_block(const T* block, const T* mirrored, std::size_t n, T* D, T* D_mirrored,
                   std::size_t size) {
  using Register = typename geometry::Sixteen<T>::Register;
  constexpr std::size_t kLanes = 16 / sizeof(T);
  Register rows[kLanes], columns[kLanes];
  geometry::load_rows(block, n, rows);
  geometry::load_rows(mirrored, n, columns);
  geometry::transpose(columns);
  const Register none{}, all = none + T{1};
  for (std::size_t k = 0; k < kLanes; ++k) {
    Register weight = rows[k] < columns[k] ? columns[k] : rows[k];
    weight = weight < none ? none : weight;
    rows[k] = all - (all < weight ? all : weight);
    std::memcpy(D + k * size, &rows[k], 16);
  }
  geometry::transpose(rows);
  for (std::size_t k = 0; k < kLanes; ++k) std::memcpy(D_mirrored + k * size, &rows[k], 16);
}

// The place of the larger of a_ij and a_ji.
template <class T>
std::size_t place_of(const T* map, std::size_t n, std::size_t i, std::size_t j) {
  return map[i * n + j] >= map[j * n + i] ? i * n + j : j * n + i;
}

// The place of the largest weight between a token and those of the prompt.
template <class T>
std::size_t place_in_prompt(const T* map, std::size_t n, std::size_t prompt, std::size_t token) {
  std::size_t best = place_of(map, n, token, 0);
  for (std::size_t j = 1; j < prompt; ++j) {
    const std::size_t place = place_of(map, n, token, j);
    if (map[place] > map[best]) best = place;
  }
  return best;
}

// The largest of a row's entries, in lanes that the compiler keeps in one register.
template <class T>
T largest(const T* row, std::size_t count) {
  constexpr std::size_t kLanes = 16;
  T lanes[kLanes] = {};
  std::size_t k = 0;
  for (; k + kLanes <= count; k += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] = std::max(lanes[lane], row[k + lane]);
  for (; k < count; ++k) lanes[0] = std::max(lanes[0], row[k]);
  return *std::max_element(lanes, lanes + kLanes);
}

}  // namespace

template <class T>
void AttentionTree<T>::measure(const T* map, std::size_t n, std::size_t prompt) {
  const std::size_t response = n - prompt, first = prompt > 0 ? 1 : 0, size = response + first;
  D_.resize(size * size);
  if (prompt > 0) {
    attended_.resize(response);
    for (std::size_t k = 0; k < response; ++k)
      attended_[k] = largest(map + (prompt + k) * n, prompt);
    for (std::size_t j = 0; j < prompt; ++j) {
      const T* row = map + j * n + prompt;
      for (std::size_t k = 0; k < response; ++k) attended_[k] = std::max(attended_[k], row[k]);
    }
    D_[0] = 0;
    for (std::size_t k = 0; k < response; ++k) D_[k + 1] = D_[(k + 1) * size] = apart(attended_[k]);
  }
  const T* among = map + prompt * n + prompt;
  T* D = D_.data() + first * size + first;
  const std::size_t whole =
      geometry::for_each_block<T>(response, [&](std::size_t i, std::size_t j) {
        measure_block(among + i * n + j, among + j * n + i, n, D + i * size + j, D + j * size + i,
                      size);
      });
  for (std::size_t i = whole; i < response; ++i)
    for (std::size_t j = 0; j < i; ++j)
      D[i * size + j] = D[j * size + i] = apart(std::max(among[i * n + j], among[j * n + i]));
  for (std::size_t i = 0; i < response; ++i) D[i * size + i] = 0;
}

template <class T>
void AttentionTree<T>::compute(const T* map, std::size_t n, std::size_t prompt, Isa isa,
                               std::int64_t* places) {
  measure(map, n, prompt);
  const std::size_t first = prompt > 0 ? 1 : 0;
  h0_.compute(D_.data(), n - prompt + first, isa, tree_);
  for (const Bar& bar : tree_.bars) {
    const std::size_t i = rips::first(bar.death), j = rips::second(bar.death);
    const std::size_t token = j - first + prompt;
    *places++ = static_cast<std::int64_t>(i < first ? place_in_prompt(map, n, prompt, token)
                                                    : place_of(map, n, token, i - first + prompt));
  }
}

template class AttentionTree<float>;
template class AttentionTree<double>;

}  // namespace tsl::rips
