// Diagrams with representative cycles of H1.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bindings/arguments.hpp"
#include "bindings/checks.hpp"
#include "bindings/rips.hpp"
#include "bindings/workers.hpp"
#include "platform/isa.hpp"
#include "platform/kept.hpp"
#include "rips/cycles.hpp"
#include "rips/h1.hpp"

namespace tsl::bindings {

// What finds the diagrams of a cloud and their cycles.
template <class T>
struct CycleEngine {
  rips::H1<T> h1;
  rips::SweepRecord record;
  rips::CycleFinder<T> finder;
};

// The edges of all cycles, int64 [M, 2].
inline py::array cycle_edges(const std::vector<rips::Cycles>& cycles) {
  std::size_t count = 0;
  for (const rips::Cycles& cloud : cycles) count += cloud.edges.size();
  py::array_t<Index> edges({count, std::size_t{2}});
  Index* vertices = edges.mutable_data();
  for (const rips::Cycles& cloud : cycles)
    for (const rips::Edge e : cloud.edges) {
      *vertices++ = rips::first(e);
      *vertices++ = rips::second(e);
    }
  return std::move(edges);
}

// Where each cycle begins among these edges, and behind them where the last ends, int64 [C + 1].
inline py::array cycle_starts(const std::vector<rips::Cycles>& cycles) {
  std::size_t count = 1;
  for (const rips::Cycles& cloud : cycles) count += cloud.ends.size();
  py::array_t<Index> starts(static_cast<py::ssize_t>(count));
  Index* next = starts.mutable_data();
  Index begin = 0;
  *next++ = begin;
  for (const rips::Cycles& cloud : cycles) {
    for (const std::size_t end : cloud.ends) *next++ = begin + static_cast<Index>(end);
    begin += static_cast<Index>(cloud.edges.size());
  }
  return std::move(starts);
}

// How many cycles each cloud has.
inline py::list cycle_counts(const std::vector<rips::Cycles>& cycles) {
  py::list counts(cycles.size());
  for (std::size_t b = 0; b < cycles.size(); ++b) counts[b] = py::int_(cycles[b].ends.size());
  return counts;
}

template <class T>
py::tuple cycles_of(const Matrices<T>& matrices, const Batch& batch, const Lengths& lengths,
                    const RipsOptions& options, std::size_t threads, Isa isa, bool shorten,
                    std::size_t most, std::size_t room) {
  const T limit = static_cast<T>(options.max_edge_length);
  std::array<Barcodes, 2> barcodes{Barcodes(batch.B), Barcodes(batch.B)};
  std::vector<rips::Cycles> cycles(batch.B);
  const auto cost = [](const Nanoseconds& each) { return 2 * each.h1(); };
  for_each_cloud_without_gil(batch, lengths, cost, threads, [&] {
    auto engine = kept_engine<CycleEngine<T>>(batch.n);
    return [&, engine, corner = std::vector<T>(),
            elders = rips::ElderRule<T>()](std::size_t b) mutable {
      const T* const matrix = matrices.of(b, corner);
      const std::size_t n = matrices.points(b);
      engine->h1.compute(matrix, n, isa, barcodes[0][b], barcodes[1][b], limit, &engine->record);
      engine->finder.find(matrix, n, barcodes[0][b], engine->record, shorten, most, room,
                          cycles[b]);
      if (const T* births = matrices.births(b)) elders.apply(births, n, limit, barcodes[0][b]);
    };
  });
  return py::make_tuple(as_diagrams(barcodes, 1, matrices, batch), cycle_edges(cycles),
                        cycle_starts(cycles), cycle_counts(cycles));
}

// The diagrams of dimensions 0 and 1, the edges of all cycles, where each cycle begins, and how
// many each cloud has: of its bars of H1, then of its classes that never die.
//
// With `most`, cycles of so many classes of each cloud alone, see CycleFinder::find; the others
// have no edges.
//
// To find the short loops each thread may take `room` bytes; where they are not enough, the word
// "room", the number of points of that cloud, and how many bytes it needs.
//
// With `check`, what first_matrix_fault says where an entry is at fault, and a matrix that is
// symmetric up to rounding counts by its upper triangle. Without, values are not checked.
inline py::object rips_cycles(const py::array& D, bool shorten, const py::object& given_lengths,
                              std::size_t threads, const std::string& isa_text,
                              std::optional<double> max_edge_length,
                              const std::optional<py::array>& vertex_births, bool check,
                              std::optional<std::size_t> room, std::optional<std::size_t> most) {
  const Batch batch = check_batch(D, "D", true);
  const RipsOptions options = check_options(1, max_edge_length);
  const Lengths lengths(given_lengths, batch);
  const Isa isa = parse_isa(isa_text);
  return with_float_type(D, "D", [&](auto zero) -> py::object {
    using T = decltype(zero);
    const T* entries = data<T>(D);
    std::vector<T> symmetric;
    if (check) {
      bool rounded = false;
      const std::optional<MatrixFault> fault = find_matrix_fault(entries, batch, rounded);
      if (fault) return as_python(fault);
      if (rounded) symmetric = mirrored(entries, batch);
      if (rounded) entries = symmetric.data();
    }
    const Matrices<T> matrices(entries, batch, lengths, check_births<T>(vertex_births, batch));
    try {
      return cycles_of(matrices, batch, lengths, options, threads, isa, shorten,
                       most.value_or(SIZE_MAX), room.value_or(SIZE_MAX));
    } catch (const rips::NoRoom& missing) {
      return py::make_tuple("room", missing.points, missing.bytes);
    }
  });
}

inline void define_cycles(py::module_& m) {
  m.def("rips_cycles", &rips_cycles, py::arg("D"), py::arg("shorten"),
        py::arg("lengths") = py::none(), py::arg("threads") = 1, py::arg("isa") = "auto",
        py::arg("max_edge_length") = py::none(), py::arg("vertex_births") = py::none(),
        py::arg("check") = false, py::arg("room") = py::none(), py::arg("most") = py::none());
}

}  // namespace tsl::bindings
