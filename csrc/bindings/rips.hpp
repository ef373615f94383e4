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
#include "rips/h0.hpp"
#include "rips/h1.hpp"

namespace tsl::bindings {

// Matrices [B, n, n], of which those of clouds with fewer than n points are filled to lengths[b]
// rows and columns only; without lengths all are full.
template <class T>
class Matrices {
 public:
  Matrices(const T* D, const Batch& batch, const Index* lengths)
      : D_(D), n_(batch.n), lengths_(lengths) {}

  std::size_t points(std::size_t b) const {
    return lengths_ ? static_cast<std::size_t>(lengths_[b]) : n_;
  }

  // The [points, points] matrix of cloud b; `corner` holds it where it has to be cut out.
  const T* of(std::size_t b, std::vector<T>& corner) const {
    const T* const matrix = D_ + b * n_ * n_;
    const std::size_t m = points(b);
    if (m == n_) return matrix;
    corner.resize(m * m);
    for (std::size_t i = 0; i < m; ++i) std::copy_n(matrix + i * n_, m, corner.data() + i * m);
    return corner.data();
  }

 private:
  const T* D_;
  std::size_t n_;
  const Index* lengths_;
};

// What the diagrams of a matrix are asked with.
struct RipsOptions {
  int max_dim;
  double max_edge_length;  // infinite where all edges count
};

// The barcodes of H0 and H1; of H1 none where max_dim is 0.
template <class T>
std::array<Barcodes, 2> barcodes_of(const T* D, const Batch& batch, const RipsOptions& options,
                                    const Index* lengths, std::size_t threads, Isa isa,
                                    const py::object& meanwhile) {
  const Matrices<T> matrices(D, batch, lengths);
  const int max_dim = options.max_dim;
  // Rounded as a tensor of this type rounds a number that it is compared with.
  const T limit = static_cast<T>(options.max_edge_length);
  std::array<Barcodes, 2> barcodes{Barcodes(batch.B), Barcodes(max_dim == 0 ? 0 : batch.B)};
  if (max_dim == 0) {
    const auto make_worker = [&] {
      auto engine = kept_engine<rips::H0<T>>(batch.n);
      return [&, engine, corner = std::vector<T>()](std::size_t b) mutable {
        engine->compute(matrices.of(b, corner), matrices.points(b), barcodes[0][b], limit);
      };
    };
    for_each_cloud_without_gil(batch, Nanoseconds(batch).h0(), threads, make_worker, meanwhile);
  } else {
    const auto make_worker = [&] {
      auto engine = kept_engine<rips::H1<T>>(batch.n);
      return [&, engine, corner = std::vector<T>()](std::size_t b) mutable {
        engine->compute(matrices.of(b, corner), matrices.points(b), isa, barcodes[0][b],
                        barcodes[1][b], limit);
      };
    };
    for_each_cloud_without_gil(batch, Nanoseconds(batch).h1(), threads, make_worker, meanwhile);
  }
  return barcodes;
}

// The barcodes of dimensions 0 to max_dim as diagrams.
template <class T>
py::tuple as_diagrams(const std::array<Barcodes, 2>& barcodes, int max_dim, const T* D,
                      const Batch& batch) {
  const auto diagram = [&](const Barcodes& dimension, std::size_t K, std::size_t least) {
    const std::size_t E = std::max(least, most_essential(dimension));
    return std::make_unique<Diagram>(dimension, K, E, D, batch);
  };
  // An empty batch of clouds has the shape of others.
  auto h0 = diagram(barcodes[0], batch.h0_bars(), batch.n > 0 ? 1 : 0);
  if (max_dim == 0) return py::make_tuple(std::move(h0));
  return py::make_tuple(std::move(h0), diagram(barcodes[1], most_bars(barcodes[1]), 0));
}

template <class T>
py::tuple diagrams_of(const T* D, const Batch& batch, const RipsOptions& options,
                      const Index* lengths, std::size_t threads, Isa isa,
                      const py::object& meanwhile = py::none()) {
  return as_diagrams(barcodes_of(D, batch, options, lengths, threads, isa, meanwhile),
                     options.max_dim, D, batch);
}

// The numbers of points, int64 [...], or null where every cloud has n.
inline const Index* check_lengths(const py::object& given, const Batch& batch) {
  if (given.is_none()) return nullptr;
  const auto lengths = given.cast<py::array>();
  require_contiguous(lengths, "lengths", 0);
  require(holds<Index>(lengths) && fits(lengths, batch, {}), "lengths", "int64 [...], one a cloud",
          lengths);
  const Index* const points = data<Index>(lengths);
  for (std::size_t b = 0; b < batch.B; ++b)
    if (points[b] < 1 || points[b] > static_cast<Index>(batch.n))
      throw py::value_error("lengths: expected from 1 to " + std::to_string(batch.n) +
                            " points, got " + std::to_string(points[b]));
  return points;
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

// The diagrams of dimensions 0 to max_dim. Values are not checked. `meanwhile` is for
// for_each_cloud_without_gil.
inline py::tuple rips(const py::array& D, int max_dim, const py::object& lengths,
                      std::size_t threads, const std::string& isa_text,
                      std::optional<double> max_edge_length, const py::object& meanwhile) {
  const Batch batch = check_batch(D, "D", true);
  const RipsOptions options = check_options(max_dim, max_edge_length);
  const Index* const points = check_lengths(lengths, batch);
  const Isa isa = parse_isa(isa_text);
  return with_float_type(D, "D", [&](auto zero) {
    return diagrams_of(data<decltype(zero)>(D), batch, options, points, threads, isa, meanwhile);
  });
}

// The tensor's matrices [..., n, n], n > 0, if the engine can read them where they are.
inline std::optional<Batch> readable_matrices(const DLTensor& D) {
  const bool is_float =
      D.code == DLTensor::kFloat && D.lanes == 1 && (D.bits == 32 || D.bits == 64);
  if (D.device_type != DLTensor::kCpu || !is_float || D.ndim < 2 || !D.contiguous())
    return std::nullopt;
  const std::int64_t n = D.shape[D.ndim - 1];
  if (n != D.shape[D.ndim - 2] || n == 0 || n > static_cast<std::int64_t>(rips::kMaxPoints))
    return std::nullopt;
  const auto size = static_cast<std::size_t>(n);
  Batch batch{Shape(D.shape, D.shape + D.ndim - 2), 1, size, size};
  for (const py::ssize_t count : batch.lead) batch.B *= static_cast<std::size_t>(count);
  return batch;
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
  const std::optional<Batch> batch = readable_matrices(D);
  if (!batch) return py::none();
  const auto checked = [&](auto zero) -> py::object {
    const auto* const entries = D.entries<decltype(zero)>();
    bool rounded;
    const std::optional<MatrixFault> fault = find_matrix_fault(entries, *batch, rounded);
    if (fault) return as_python(fault);
    if (!rounded) return diagrams_of(entries, *batch, options, nullptr, threads, best_isa());
    return diagrams_of(mirrored(entries, *batch).data(), *batch, options, nullptr, threads,
                       best_isa());
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
        py::arg("meanwhile") = py::none());
  m.def("rips_of_tensor", &rips_of_tensor, py::arg("memory"), py::arg("max_dim"),
        py::arg("threads") = 1, py::arg("max_edge_length") = py::none());
}

}  // namespace tsl::bindings
