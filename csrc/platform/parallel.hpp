// One thread per cloud over a batch.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <vector>

#include "platform/thread_pool.hpp"

namespace tsl {

// A thread that has less to do than this is hardly worth waking.
constexpr double kLeastNanoseconds = 50e3;

// Calls work(at(k)) for k in 0..B-1 on up to `threads` threads, begun in this order. All clouds
// together take about `nanoseconds`; where that is too little work, fewer threads take part.
// make_worker() gives each thread a worker of its own, so that scratch memory is reused from cloud
// to cloud and never shared.
template <class At, class MakeWorker>
void share_clouds(std::size_t B, At at, double nanoseconds, std::size_t threads,
                  MakeWorker make_worker) {
  const double useful = nanoseconds / kLeastNanoseconds;
  if (useful < static_cast<double>(threads)) threads = static_cast<std::size_t>(useful);
  threads = std::max<std::size_t>(1, std::min(threads, B));
  if (threads == 1) {
    auto work = make_worker();
    for (std::size_t k = 0; k < B; ++k) work(at(k));
    return;
  }
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;
  std::mutex error_guard;
  const auto run = [&] {
    try {
      auto work = make_worker();
      for (std::size_t k = next++; k < B; k = next++) work(at(k));
    } catch (...) {
      next = B;
      const std::lock_guard<std::mutex> lock(error_guard);
      error = std::current_exception();
    }
  };
  ThreadPool::of_process().run(threads - 1, run);
  if (error) std::rethrow_exception(error);
}

// The clouds 0..B-1, of which each takes about `nanoseconds`.
template <class MakeWorker>
void for_each_cloud(std::size_t B, double nanoseconds, std::size_t threads,
                    MakeWorker make_worker) {
  share_clouds(
      B, [](std::size_t b) { return b; }, static_cast<double>(B) * nanoseconds, threads,
      make_worker);
}

// Clouds that take different times, in the order given: the longest first, lest one thread be left
// with it at the end.
template <class MakeWorker>
void for_each_cloud(const std::vector<std::size_t>& order, double nanoseconds, std::size_t threads,
                    MakeWorker make_worker) {
  share_clouds(
      order.size(), [&](std::size_t k) { return order[k]; }, nanoseconds, threads, make_worker);
}

}  // namespace tsl
