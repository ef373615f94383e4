// Spanning trees of attention maps.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>

#include "bindings/arguments.hpp"
#include "bindings/workers.hpp"
#include "platform/isa.hpp"
#include "platform/kept.hpp"
#include "rips/attention_tree.hpp"

namespace tsl::bindings {

// Of maps [..., n, n] the places i * n + j of the weights of the tree's edges, [..., K]. Values are
// not checked.
inline py::array attention_trees(const py::array& maps, std::size_t prompt, std::size_t threads,
                                 const std::string& isa_text) {
  const Batch batch = check_batch(maps, "maps", true);
  const Isa isa = parse_isa(isa_text);
  if (prompt >= batch.n)
    throw py::value_error("prompt: expected less than " + std::to_string(batch.n) +
                          " tokens, got " + std::to_string(prompt));
  return with_float_type(maps, "maps", [&](auto zero) -> py::array {
    using T = decltype(zero);
    using Tree = rips::AttentionTree<T>;
    const std::size_t K = Tree::size(batch.n, prompt);
    py::array_t<Index> places(batch.with({K}));
    const T* in = data<T>(maps);
    Index* out = places.mutable_data();
    for_each_cloud_without_gil(batch, Nanoseconds(batch).h0(), threads, [&] {
      auto tree = kept_engine<Tree>(batch.n);
      return [&, tree](std::size_t b) {
        tree->compute(in + b * batch.n * batch.n, batch.n, prompt, isa, out + b * K);
      };
    });
    return places;
  });
}

inline void define_attention(py::module_& m) {
  m.def("attention_trees", &attention_trees, py::arg("maps"), py::arg("prompt"),
        py::arg("threads") = 1, py::arg("isa") = "auto");
}

}  // namespace tsl::bindings
