// Bars as the Python side reads them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <vector>

#include "bindings/arguments.hpp"
#include "bindings/matrices.hpp"
#include "rips/bar.hpp"
#include "rips/filtration.hpp"

namespace tsl::bindings {

// The barcode of each cloud of a batch.
using Barcodes = std::vector<rips::Barcode>;

inline std::size_t most_bars(const Barcodes& barcodes) {
  std::size_t K = 0;
  for (const auto& cloud : barcodes) K = std::max(K, cloud.bars.size());
  return K;
}

inline std::size_t most_essential(const Barcodes& barcodes) {
  std::size_t E = 0;
  for (const auto& cloud : barcodes) E = std::max(E, cloud.essential.size());
  return E;
}

// The bars of one homology dimension of a batch of clouds, padded to K a cloud, and beside them the
// E classes of each that never die. All of it is one block of memory, and the arrays are views.
//
// A bar is its birth edge and its death edge, four vertices; the birth of a class of H0 is (v, v).
// Padding is -1 for vertices, 0 for lengths and false in the masks.
class Diagram {
 public:
  template <class T>
  Diagram(const Barcodes& barcodes, std::size_t K, std::size_t E, const Matrices<T>& matrices,
          const Batch& batch)
      : batch_(batch), K_(K), E_(E), type_(py::dtype::of<T>()) {
    const std::size_t B = batch.B;
    const std::size_t vertices = B * (4 * K + 2 * E), lengths = B * (2 * K + E);
    const std::size_t bytes = vertices * sizeof(Index) + lengths * sizeof(T) + B * (K + E);
    memory_.reset(new Index[bytes / sizeof(Index) + 1]);
    bars_ = memory_.get();
    essential_edges_ = bars_ + B * 4 * K;
    births_ = reinterpret_cast<char*>(essential_edges_ + B * 2 * E);
    deaths_ = births_ + B * K * sizeof(T);
    essential_births_ = deaths_ + B * K * sizeof(T);
    mask_ = reinterpret_cast<bool*>(essential_births_ + B * E * sizeof(T));
    essential_mask_ = mask_ + B * K;

    for (std::size_t b = 0; b < B; ++b) {
      write_bars(barcodes[b].bars, b, matrices.edge_lengths(b));
      write_essential(barcodes[b].essential, b, matrices.edge_lengths(b));
    }
  }

  // `self` is the Python object of this diagram, which the arrays keep alive.
  py::array bars(py::handle self) const { return view<Index>(self, bars_, {K_, 4}); }
  py::array mask(py::handle self) const { return view<bool>(self, mask_, {K_}); }
  py::array births(py::handle self) const { return lengths(self, births_, K_); }
  py::array deaths(py::handle self) const { return lengths(self, deaths_, K_); }
  py::array birth_edges(py::handle self) const { return edges(self, bars_); }
  py::array death_edges(py::handle self) const { return edges(self, bars_ + 2); }
  py::array essential_births(py::handle self) const { return lengths(self, essential_births_, E_); }
  py::array essential_edges(py::handle self) const {
    return view<Index>(self, essential_edges_, {E_, 2});
  }
  py::array essential_mask(py::handle self) const {
    return view<bool>(self, essential_mask_, {E_});
  }

 private:
  template <class T>
  void write_bars(const std::vector<rips::Bar>& cloud, std::size_t b,
                  const EdgeLengths<T> lengths) {
    Index* vertices = bars_ + b * 4 * K_;
    T* births = reinterpret_cast<T*>(births_) + b * K_;
    T* deaths = reinterpret_cast<T*>(deaths_) + b * K_;
    for (const rips::Bar& bar : cloud) {
      *vertices++ = rips::first(bar.birth);
      *vertices++ = rips::second(bar.birth);
      *vertices++ = rips::first(bar.death);
      *vertices++ = rips::second(bar.death);
      *births++ = lengths.of(bar.birth);
      *deaths++ = lengths.of(bar.death);
    }
    const std::size_t count = cloud.size(), padding = K_ - count;
    std::fill_n(vertices, 4 * padding, Index{-1});
    std::fill_n(births, padding, T{0});
    std::fill_n(deaths, padding, T{0});
    std::fill_n(mask_ + b * K_, count, true);
    std::fill_n(mask_ + b * K_ + count, padding, false);
  }

  template <class T>
  void write_essential(const std::vector<rips::Edge>& cloud, std::size_t b,
                       const EdgeLengths<T> lengths) {
    Index* vertices = essential_edges_ + b * 2 * E_;
    T* births = reinterpret_cast<T*>(essential_births_) + b * E_;
    for (const rips::Edge birth : cloud) {
      *vertices++ = rips::first(birth);
      *vertices++ = rips::second(birth);
      *births++ = lengths.of(birth);
    }
    const std::size_t count = cloud.size(), padding = E_ - count;
    std::fill_n(vertices, 2 * padding, Index{-1});
    std::fill_n(births, padding, T{0});
    std::fill_n(essential_mask_ + b * E_, count, true);
    std::fill_n(essential_mask_ + b * E_ + count, padding, false);
  }

  template <class T>
  py::array view(py::handle self, const T* data,
                 std::initializer_list<std::size_t> trailing) const {
    return py::array(py::dtype::of<T>(), batch_.with(trailing), data, self);
  }

  py::array lengths(py::handle self, const char* data, std::size_t count) const {
    return py::array(type_, batch_.with({count}), data, self);
  }

  // Two of the four vertices of each bar.
  py::array edges(py::handle self, const Index* data) const {
    const Shape shape = batch_.with({K_, 2});
    Shape strides(shape.size());
    strides.back() = sizeof(Index);
    py::ssize_t step = 4 * sizeof(Index);
    for (std::size_t k = shape.size() - 1; k-- > 0; step *= shape[k]) strides[k] = step;
    return py::array(py::dtype::of<Index>(), shape, strides, data, self);
  }

  Batch batch_;
  std::size_t K_, E_;
  py::dtype type_;
  std::unique_ptr<Index[]> memory_;
  Index *bars_, *essential_edges_;
  char *births_, *deaths_, *essential_births_;
  bool *mask_, *essential_mask_;
};

}  // namespace tsl::bindings
