// The Python face of the engine: checks arguments, frees the GIL, runs one thread per cloud.
// All of it is one file to the compiler, for pybind11 takes seconds in each.
#include <pybind11/pybind11.h>

#include "bindings/attention.hpp"
#include "bindings/checks.hpp"
#include "bindings/cycles.hpp"
#include "bindings/geometry.hpp"
#include "bindings/losses.hpp"
#include "bindings/rips.hpp"
#include "platform/isa.hpp"

PYBIND11_MODULE(_C, m) {
  m.doc() = "The C++ engine of tsloss_fast: contiguous NumPy arrays in, NumPy arrays out.";
  m.def("best_isa", [] { return tsl::isa_name(tsl::best_isa()); });
  tsl::bindings::define_checks(m);
  tsl::bindings::define_geometry(m);
  tsl::bindings::define_rips(m);
  tsl::bindings::define_cycles(m);
  tsl::bindings::define_losses(m);
  tsl::bindings::define_attention(m);
}
