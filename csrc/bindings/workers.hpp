// One thread per cloud, without the GIL, until Python says stop.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "bindings/arguments.hpp"
#include "platform/parallel.hpp"
#include "platform/stop.hpp"

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

// Without the GIL while it lives.
//
// Until 3.14, a Python that ends unwinds each thread that asks for the GIL, which aborts the
// process in the first function that lets no exception through. So such a thread, a daemon's, stays
// where it is until the process is gone, as it does in later ones.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  // NOLINTNEXTLINE(bugprone-unsafe-to-allow-exceptions)
  ~WithoutGil() noexcept(false) { take(); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

  // What ask() says, which is called with the GIL.
  template <class Ask>
  bool with_gil(Ask ask) {
    take();
    const bool answer = ask();
    state_ = PyEval_SaveThread();
    return answer;
  }

 private:
  struct StaysIfUnwound {
    bool goes_on = false;
    ~StaysIfUnwound() {
      while (!goes_on) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  };

  void take() {
    StaysIfUnwound here;
    PyEval_RestoreThread(state_);
    here.goes_on = true;
  }

  PyThreadState* state_;
};

// Whether Python lets a call go on: not after Ctrl-C, nor where the function `meanwhile` raises.
// The error is then set. Needs the GIL.
inline bool python_goes_on(const py::object& meanwhile) {
  if (PyErr_CheckSignals() != 0) return false;
  if (meanwhile.is_none()) return true;
  PyObject* const result = PyObject_CallNoArgs(meanwhile.ptr());
  Py_XDECREF(result);
  return result != nullptr;
}

// Clouds, their number or the order to take them in, one thread per cloud, without the GIL: the
// workers touch no Python object. Python's function `meanwhile`, where it is one, is called about
// every tenth of a second; what it raises, or Ctrl-C, ends the call.
template <class Clouds, class MakeWorker>
void share_without_gil(const Clouds& clouds, double nanoseconds, std::size_t threads,
                       MakeWorker make_worker, const py::object& meanwhile) {
  try {
    WithoutGil released;
    Call call([&] { return released.with_gil([&] { return python_goes_on(meanwhile); }); });
    for_each_cloud(clouds, nanoseconds, threads, call, make_worker);
  } catch (const Stopped&) {
    throw py::error_already_set();
  }
}

// All clouds of a batch, of which each takes about `nanoseconds`.
template <class MakeWorker>
void for_each_cloud_without_gil(const Batch& batch, double nanoseconds, std::size_t threads,
                                MakeWorker make_worker, const py::object& meanwhile = py::none()) {
  share_without_gil(batch.B, nanoseconds, threads, make_worker, meanwhile);
}

// The same where clouds may differ in their numbers of points; cost(Nanoseconds) is what one takes.
template <class Cost, class MakeWorker>
void for_each_cloud_without_gil(const Batch& batch, const Lengths& lengths, Cost cost,
                                std::size_t threads, MakeWorker make_worker,
                                const py::object& meanwhile = py::none()) {
  if (!lengths.differ())
    return share_without_gil(batch.B, cost(Nanoseconds(batch)), threads, make_worker, meanwhile);
  double nanoseconds = 0;
  for (std::size_t b = 0; b < batch.B; ++b)
    nanoseconds += cost(Nanoseconds(batch, lengths.points(b)));
  share_without_gil(lengths.largest_first(), nanoseconds, threads, make_worker, meanwhile);
}

}  // namespace tsl::bindings
