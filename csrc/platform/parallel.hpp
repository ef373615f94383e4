// One thread per cloud over a batch.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <vector>

#include "platform/stop.hpp"
#include "platform/thread_pool.hpp"

namespace tsl {

// A thread that has less to do than this is hardly worth waking.
constexpr double kLeastNanoseconds = 50e3;

// Between small clouds a thread looks once in this time whether the call has to stop.
constexpr double kLookNanoseconds = 10e3;

// Calls work(at(k)) for k in 0..B-1 on up to `threads` threads, begun in this order. All clouds
// together take about `nanoseconds`; where that is too little work, fewer threads take part.
// make_worker() gives each thread a worker of its own, so that scratch memory is reused from cloud
// to cloud and never shared. Throws Stopped where the call has to stop.
template <class At, class MakeWorker>
void share_clouds(std::size_t B, At at, double nanoseconds, std::size_t threads, Call& call,
                  MakeWorker make_worker) {
  const double each = nanoseconds / static_cast<double>(std::max<std::size_t>(B, 1));
  const auto clouds_a_look = static_cast<unsigned>(
      std::clamp(kLookNanoseconds / std::max(each, 1.0), 1.0, kLookNanoseconds));
  const double useful = nanoseconds / kLeastNanoseconds;
  if (useful < static_cast<double>(threads)) threads = static_cast<std::size_t>(useful);
  threads = std::max<std::size_t>(1, std::min(threads, B));
  if (threads == 1) {
    const WorkFor working(call);
    auto work = make_worker();
    Checkpoint checkpoint(clouds_a_look);
    for (std::size_t k = 0; k < B; ++k) {
      work(at(k));
      checkpoint.pass();
    }
    return;
  }
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;
  std::mutex error_guard;
  const auto run = [&] {
    try {
      const WorkFor working(call);
      auto work = make_worker();
      Checkpoint checkpoint(clouds_a_look);
      for (std::size_t k = next++; k < B; k = next++) {
        work(at(k));
        checkpoint.pass();
      }
    } catch (...) {
      next = B;
      const std::lock_guard<std::mutex> lock(error_guard);
      error = std::current_exception();
    }
  };
  // The caller's thread may have no cloud left while others compute.
  ThreadPool::of_process().run(threads - 1, run, Call::kPause, [&] { call.goes_on(); });
  if (error) std::rethrow_exception(error);
  if (call.has_stopped()) throw Stopped{};
}

// The clouds 0..B-1, of which each takes about `nanoseconds`.
template <class MakeWorker>
void for_each_cloud(std::size_t B, double nanoseconds, std::size_t threads, Call& call,
                    MakeWorker make_worker) {
  const auto as_they_come = [](std::size_t b) { return b; };
  share_clouds(B, as_they_come, static_cast<double>(B) * nanoseconds, threads, call, make_worker);
}

// Clouds that take different times, in the order given: the longest first, lest one thread be left
// with it at the end.
template <class MakeWorker>
void for_each_cloud(const std::vector<std::size_t>& order, double nanoseconds, std::size_t threads,
                    Call& call, MakeWorker make_worker) {
  const auto in_order = [&order](std::size_t k) { return order[k]; };
  share_clouds(order.size(), in_order, nanoseconds, threads, call, make_worker);
}

}  // namespace tsl
