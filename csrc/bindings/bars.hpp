// Bars as NumPy arrays: the encodings that the Python side knows, and no others.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "bindings/arguments.hpp"
#include "rips/bar.hpp"
#include "rips/filtration.hpp"

namespace tsl::bindings {

// The bars of each cloud of a batch.
using Bars = std::vector<std::vector<rips::Bar>>;

inline std::size_t most_bars(const Bars& bars) {
  std::size_t K = 0;
  for (const auto& cloud : bars) K = std::max(K, cloud.size());
  return K;
}

// Pads with -1 where a cloud has fewer than n - 1 bars: only a matrix that holds NaN does.
inline py::array_t<Index> pack_h0(const Bars& bars, const Batch& batch) {
  const std::size_t K = batch.h0_bars();
  py::array_t<Index> packed(batch.with({K, 3}));
  Index* out = packed.mutable_data();
  for (const auto& cloud : bars) {
    for (const rips::Bar& bar : cloud) {
      *out++ = rips::first(bar.birth);
      *out++ = rips::first(bar.death);
      *out++ = rips::second(bar.death);
    }
    out = std::fill_n(out, 3 * (K - cloud.size()), Index{-1});
  }
  return packed;
}

// Pads to the longest cloud with -1.
inline py::array_t<Index> pack_h1(const Bars& bars, const Batch& batch) {
  const std::size_t K = most_bars(bars);
  py::array_t<Index> packed(batch.with({K, 4}));
  Index* out = packed.mutable_data();
  for (const auto& cloud : bars) {
    for (const rips::Bar& bar : cloud) {
      *out++ = rips::first(bar.birth);
      *out++ = rips::second(bar.birth);
      *out++ = rips::first(bar.death);
      *out++ = rips::second(bar.death);
    }
    out = std::fill_n(out, 4 * (K - cloud.size()), Index{-1});
  }
  return packed;
}

// The fields of a PersistenceDiagram, to which bars are appended cloud by cloud: births and deaths
// [..., K], birth and death edges [..., K, 2], and the mask [..., K].
template <class T>
class DiagramArrays {
 public:
  DiagramArrays(const Batch& batch, std::size_t K)
      : births_(batch.with({K})),
        deaths_(batch.with({K})),
        birth_edges_(batch.with({K, 2})),
        death_edges_(batch.with({K, 2})),
        mask_(batch.with({K})),
        birth_(births_.mutable_data()),
        death_(deaths_.mutable_data()),
        birth_edge_(birth_edges_.mutable_data()),
        death_edge_(death_edges_.mutable_data()),
        is_bar_(mask_.mutable_data()) {}

  void append(T birth, T death, Index i, Index j, Index k, Index l, bool is_bar = true) {
    *birth_++ = birth;
    *death_++ = death;
    *birth_edge_++ = i;
    *birth_edge_++ = j;
    *death_edge_++ = k;
    *death_edge_++ = l;
    *is_bar_++ = is_bar;
  }

  void pad(std::size_t count) {
    while (count-- > 0) append(0, 0, -1, -1, -1, -1, false);
  }

  py::tuple arrays() const {
    return py::make_tuple(births_, deaths_, birth_edges_, death_edges_, mask_);
  }

 private:
  py::array_t<T> births_, deaths_;
  py::array_t<Index> birth_edges_, death_edges_;
  py::array_t<bool> mask_;
  T *birth_, *death_;
  Index *birth_edge_, *death_edge_;
  bool* is_bar_;
};

// The diagrams of a batch, padded to K bars each; a vertex (v, v) has length 0.
template <class T>
py::tuple diagram_arrays(const Bars& bars, std::size_t K, const T* D, const Batch& batch) {
  DiagramArrays<T> diagram(batch, K);
  for (std::size_t b = 0; b < batch.B; ++b, D += batch.n * batch.n) {
    for (const rips::Bar& bar : bars[b]) {
      const rips::Vertex i = rips::first(bar.birth), j = rips::second(bar.birth);
      const rips::Vertex k = rips::first(bar.death), l = rips::second(bar.death);
      const T birth = i == j ? T{0} : D[i * batch.n + j];
      diagram.append(birth, D[k * batch.n + l], i, j, k, l);
    }
    diagram.pad(K - bars[b].size());
  }
  return diagram.arrays();
}

}  // namespace tsl::bindings
