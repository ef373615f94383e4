// Diagrams of distance matrices.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/arguments.hpp"
#include "bindings/bars.hpp"
#include "bindings/checks.hpp"
#include "bindings/dlpack.hpp"
#include "bindings/workers.hpp"
#include "platform/isa.hpp"
#include "platform/kept.hpp"
#include "rips/elder_rule.hpp"
#include "rips/h0.hpp"
#include "rips/h1.hpp"

namespace tsl::bindings {

// What the diagrams of a matrix are asked with.
struct RipsOptions {
  int max_dim;
  double max_edge_length;  // infinite where all edges count
};

// The barcodes of H0 and H1; of H1 none where max_dim is 0.
template <class T>
std::array<Barcodes, 2> barcodes_of(const Matrices<T>& matrices, const Batch& batch,
                                    const Lengths& lengths, const RipsOptions& options,
                                    std::size_t threads, Isa isa, const py::object& meanwhile) {
  const int max_dim = options.max_dim;
  // Rounded as a tensor of this type rounds a number that it is compared with.
  const T limit = static_cast<T>(options.max_edge_length);
  std::array<Barcodes, 2> barcodes{Barcodes(batch.B), Barcodes(max_dim == 0 ? 0 : batch.B)};
  if (max_dim == 0) {
    const auto make_worker = [&] {
      auto engine = kept_engine<rips::H0<T>>(batch.n);
      return [&, engine, corner = std::vector<T>(),
              elders = rips::ElderRule<T>()](std::size_t b) mutable {
        engine->compute(matrices.of(b, corner), matrices.points(b), isa, barcodes[0][b], limit);
        if (const T* births = matrices.births(b))
          elders.apply(births, matrices.points(b), limit, barcodes[0][b]);
      };
    };
    const auto cost = [](const Nanoseconds& each) { return each.h0(); };
    for_each_cloud_without_gil(batch, lengths, cost, threads, make_worker, meanwhile);
  } else {
    const auto make_worker = [&] {
      auto engine = kept_engine<rips::H1<T>>(batch.n);
      return [&, engine, corner = std::vector<T>(),
              elders = rips::ElderRule<T>()](std::size_t b) mutable {
        engine->compute(matrices.of(b, corner), matrices.points(b), isa, barcodes[0][b],
                        barcodes[1][b], limit);
        if (const T* births = matrices.births(b))
          elders.apply(births, matrices.points(b), limit, barcodes[0][b]);
      };
    };
    const auto cost = [](const Nanoseconds& each) { return each.h1(); };
    for_each_cloud_without_gil(batch, lengths, cost, threads, make_worker, meanwhile);
  }
  return barcodes;
}

// The barcodes of dimensions 0 to max_dim as diagrams.
template <class T>
py::tuple as_diagrams(const std::array<Barcodes, 2>& barcodes, int max_dim,
                      const Matrices<T>& matrices, const Batch& batch) {
  const auto diagram = [&](const Barcodes& dimension, std::size_t K, std::size_t least) {
    const std::size_t E = std::max(least, most_essential(dimension));
    return std::make_unique<Diagram>(dimension, K, E, matrices, batch);
  };
  // An empty batch of clouds has the shape of others.
  auto h0 = diagram(barcodes[0], batch.h0_bars(), batch.n > 0 ? 1 : 0);
  if (max_dim == 0) return py::make_tuple(std::move(h0));
  return py::make_tuple(std::move(h0), diagram(barcodes[1], most_bars(barcodes[1]), 0));
}

template <class T>
py::tuple diagrams_of(const Matrices<T>& matrices, const Batch& batch, const Lengths& lengths,
                      const RipsOptions& options, std::size_t threads, Isa isa,
                      const py::object& meanwhile = py::none()) {
  return as_diagrams(barcodes_of(matrices, batch, lengths, options, threads, isa, meanwhile),
                     options.max_dim, matrices, batch);
}

// All edges count where the longest is not given.
inline RipsOptions check_options(int max_dim, std::optional<double> max_edge_length) {
  if (max_dim != 0 && max_dim != 1)
    throw py::value_error("max_dim: expected 0 or 1, got " + std::to_string(max_dim));
  const double limit = max_edge_length.value_or(std::numeric_limits<double>::infinity());
  if (!(limit >= 0))
    throw py::value_error("max_edge_length: expected at least 0, got " + std::to_string(limit));
  return {max_dim, limit};
}

// The births of the vertices, [..., n] in the dtype of D, or null where they are all 0.
template <class T>
const T* check_births(const std::optional<py::array>& births, const Batch& batch) {
  if (!births) return nullptr;
  require_contiguous(*births, "vertex_births", 1);
  require(holds<T>(*births) && fits(*births, batch, {batch.n}), "vertex_births",
          "[..., n] in the dtype of D", *births);
  return data<T>(*births);
}

// The diagrams of dimensions 0 to max_dim. Values are not checked. `meanwhile` is for
// for_each_cloud_without_gil.
inline py::tuple rips(const py::array& D, int max_dim, const py::object& given_lengths,
                      std::size_t threads, const std::string& isa_text,
                      std::optional<double> max_edge_length, const py::object& meanwhile,
                      const std::optional<py::array>& vertex_births) {
  const Batch batch = check_batch(D, "D", true);
  const RipsOptions options = check_options(max_dim, max_edge_length);
  const Lengths lengths(given_lengths, batch);
  const Isa isa = parse_isa(isa_text);
  return with_float_type(D, "D", [&](auto zero) {
    using T = decltype(zero);
    const Matrices<T> matrices(data<T>(D), batch, lengths, check_births<T>(vertex_births, batch));
    return diagrams_of(matrices, batch, lengths, options, threads, isa, meanwhile);
  });
}

// The same for packed matrices D [sum of points^2] of clouds of at most n points, their numbers
// given. Where `checks`, the first entry at fault is returned instead, as rips_of_tensor does.
inline py::object rips_of_packed(const py::array& D, const py::array& given_lengths, std::size_t n,
                                 int max_dim, bool checks, std::size_t threads,
                                 std::optional<double> max_edge_length,
                                 const std::optional<py::array>& vertex_births) {
  if (n > rips::kMaxPoints)
    throw py::value_error("n: expected at most " + std::to_string(rips::kMaxPoints) +
                          " points, got " + std::to_string(n));
  const Shape lead(given_lengths.shape(), given_lengths.shape() + given_lengths.ndim());
  const Batch batch{lead, product(lead), n, n};
  const RipsOptions options = check_options(max_dim, max_edge_length);
  const Lengths lengths(given_lengths, batch);
  require_contiguous(D, "D", 1);
  require(static_cast<std::size_t>(D.size()) == lengths.packed_starts().back(), "D",
          "the packed matrices of these lengths", D);
  return with_float_type(D, "D", [&](auto zero) -> py::object {
    using T = decltype(zero);
    const T* const births = check_births<T>(vertex_births, batch);
    const auto diagrams = [&](const T* entries) {
      const Matrices<T> matrices(entries, batch, lengths, births, true);
      return diagrams_of(matrices, batch, lengths, options, threads, best_isa());
    };
    if (!checks) return diagrams(data<T>(D));
    std::vector<T> symmetric;
    const std::optional<MatrixFault> fault = find_packed_fault(data<T>(D), lengths, symmetric);
    if (fault) return as_python(fault);
    return diagrams(symmetric.empty() ? data<T>(D) : symmetric.data());
  });
}

// The diagrams of a tensor that may be anything, given as a DLPack capsule: checked and computed in
// one call, which for small clouds takes less time than to look at the tensor from Python.
//
// Returns the diagrams; or what first_matrix_fault says, where an entry is at fault; or None, where
// this is no contiguous float32 or float64 [..., n, n] on the CPU.
inline py::object rips_of_tensor(const py::capsule& memory, int max_dim, std::size_t threads,
                                 std::optional<double> max_edge_length) {
  const DLTensor& D = tensor_of(memory);
  const RipsOptions options = check_options(max_dim, max_edge_length);
  const std::optional<Batch> batch = readable_batch(D);
  if (!batch || batch->n != batch->d) return py::none();
  const auto checked = [&](auto zero) -> py::object {
    using T = decltype(zero);
    const auto* const entries = D.entries<T>();
    const Lengths all_of_n(py::none(), *batch);
    const auto diagrams = [&](const T* exact) {
      const Matrices<T> matrices(exact, *batch, all_of_n);
      return diagrams_of(matrices, *batch, all_of_n, options, threads, best_isa());
    };
    bool rounded = false;
    const std::optional<MatrixFault> fault = find_matrix_fault(entries, *batch, rounded);
    if (fault) return as_python(fault);
    return rounded ? diagrams(mirrored(entries, *batch).data()) : diagrams(entries);
  };
  return D.bits == 32 ? checked(float{}) : checked(double{});
}

template <auto Field>
void define_field(py::class_<Diagram>& diagram, const char* name) {
  diagram.def_property_readonly(
      name, [](const py::object& self) { return (self.cast<const Diagram&>().*Field)(self); });
}

inline void define_rips(py::module_& m) {
  m.attr("max_points") = rips::kMaxPoints;
  py::class_<Diagram> diagram(m, "Diagram");
  define_field<&Diagram::bars>(diagram, "bars");
  define_field<&Diagram::mask>(diagram, "mask");
  define_field<&Diagram::births>(diagram, "births");
  define_field<&Diagram::deaths>(diagram, "deaths");
  define_field<&Diagram::birth_edges>(diagram, "birth_edges");
  define_field<&Diagram::death_edges>(diagram, "death_edges");
  define_field<&Diagram::essential_births>(diagram, "essential_births");
  define_field<&Diagram::essential_edges>(diagram, "essential_edges");
  define_field<&Diagram::essential_mask>(diagram, "essential_mask");
  m.def("rips", &rips, py::arg("D"), py::arg("max_dim"), py::arg("lengths") = py::none(),
        py::arg("threads") = 1, py::arg("isa") = "auto", py::arg("max_edge_length") = py::none(),
        py::arg("meanwhile") = py::none(), py::arg("vertex_births") = py::none());
  m.def("rips_of_packed", &rips_of_packed, py::arg("D"), py::arg("lengths"), py::arg("n"),
        py::arg("max_dim"), py::arg("checks") = false, py::arg("threads") = 1,
        py::arg("max_edge_length") = py::none(), py::arg("vertex_births") = py::none());
  m.def("rips_of_tensor", &rips_of_tensor, py::arg("memory"), py::arg("max_dim"),
        py::arg("threads") = 1, py::arg("max_edge_length") = py::none());
}

}  // namespace tsl::bindings
