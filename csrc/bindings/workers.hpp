// One thread per cloud, without the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <vector>

#include "bindings/arguments.hpp"
#include "platform/parallel.hpp"

namespace tsl::bindings {

// About how many nanoseconds a cloud takes, measured on one core with AVX2: enough to tell whether
// another thread is worth waking.
struct Nanoseconds {
  double n, d;

  explicit Nanoseconds(const Batch& batch) : Nanoseconds(batch, batch.n) {}
  // Of a cloud of the batch that has `points`.
  Nanoseconds(const Batch& batch, std::size_t points)
      : n(static_cast<double>(points)), d(static_cast<double>(batch.d)) {}

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

// The same where clouds may differ in their numbers of points; cost(Nanoseconds) is what one takes.
template <class Cost, class MakeWorker>
void for_each_cloud_without_gil(const Batch& batch, const Lengths& lengths, Cost cost,
                                std::size_t threads, MakeWorker make_worker) {
  if (!lengths.differ())
    return for_each_cloud_without_gil(batch, cost(Nanoseconds(batch)), threads, make_worker);
  double nanoseconds = 0;
  for (std::size_t b = 0; b < batch.B; ++b)
    nanoseconds += cost(Nanoseconds(batch, lengths.points(b)));
  const std::vector<std::size_t> order = lengths.largest_first();
  const py::gil_scoped_release released;
  for_each_cloud(order, nanoseconds, threads, make_worker);
}

}  // namespace tsl::bindings
