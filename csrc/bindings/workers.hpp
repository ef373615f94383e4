// One thread per cloud, without the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>

#include "bindings/arguments.hpp"
#include "platform/parallel.hpp"

namespace tsl::bindings {

// About how many nanoseconds a cloud takes, measured on one core with AVX2: enough to tell whether
// another thread is worth waking.
struct Nanoseconds {
  double n, d;

  explicit Nanoseconds(const Batch& batch)
      : n(static_cast<double>(batch.n)), d(static_cast<double>(batch.d)) {}

  double distances() const { return 0.01 * n * n * d; }
  double differences() const { return 0.02 * n * n * d; }
  double h0() const { return n * n; }
  double h1() const { return 5 * n * n; }
  double edges(std::size_t K) const { return 0.1 * static_cast<double>(K) * d; }
};

// One thread per cloud, without the GIL: the workers touch no Python object.
template <class MakeWorker>
void for_each_cloud_without_gil(const Batch& batch, double nanoseconds, std::size_t threads,
                                MakeWorker make_worker) {
  const py::gil_scoped_release released;
  for_each_cloud(batch.B, nanoseconds, threads, make_worker);
}

}  // namespace tsl::bindings
