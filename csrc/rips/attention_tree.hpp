// The spanning tree that attaches the tokens of a response to its prompt in an attention map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "platform/isa.hpp"
#include "rips/bar.hpp"
#include "rips/h0.hpp"

namespace tsl::rips {

// Tokens i and j are at distance 1 - max(a_ij, a_ji), those of the prompt are one vertex.
template <class T>
class AttentionTree {
 public:
  // How many edges there are for n tokens, of which the first `prompt` are the prompt's.
  static std::size_t size(std::size_t n, std::size_t prompt) {
    return n - (prompt > 0 ? prompt : 1);
  }

  // `map` is [n, n], n > prompt; writes of each edge, in filtration order, the place i * n + j of
  // its weight in the map.
  void compute(const T* map, std::size_t n, std::size_t prompt, Isa isa, std::int64_t* places);

 private:
  void measure(const T* map, std::size_t n, std::size_t prompt);

  // Vertex 0 is the prompt, if there is one; behind it are the response's tokens.
  std::vector<T> D_;
  std::vector<T> attended_;
  Barcode tree_;
  H0<T> h0_;
};

}  // namespace tsl::rips
