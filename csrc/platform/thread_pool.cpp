#include "platform/thread_pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

namespace tsl {
namespace {

// Never deleted, for its threads may outlive whatever deletes it.
std::atomic<ThreadPool*> pool{nullptr};

// Run in the child of a fork, where a lock may be held by a thread that is no more.
void forget_pool() { pool = nullptr; }

[[maybe_unused]] const int watched = pthread_atfork(nullptr, nullptr, forget_pool);

}  // namespace

ThreadPool& ThreadPool::of_process() {
  ThreadPool* current = pool;
  if (current) return *current;
  auto* const made = new ThreadPool;
  if (pool.compare_exchange_strong(current, made)) return *made;
  delete made;
  return *current;
}

void ThreadPool::run(std::size_t helpers, const std::function<void()>& work,
                     std::chrono::milliseconds pause, const std::function<void()>& meanwhile) {
  Job job{work, helpers, 0};
  {
    const std::lock_guard<std::mutex> lock(guard_);
    make_threads(helpers);
    jobs_.push_back(&job);
  }
  for (std::size_t t = 0; t < helpers; ++t) asked_.notify_one();
  work();
  std::unique_lock<std::mutex> lock(guard_);
  // The work is done, so threads that have not begun by now need not begin.
  if (job.wanted > 0) jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
  while (!returned_.wait_for(lock, pause, [&] { return job.active == 0; })) {
    lock.unlock();
    meanwhile();
    lock.lock();
  }
}

void ThreadPool::make_threads(std::size_t count) {
  try {
    for (; threads_ < count; ++threads_) std::thread(&ThreadPool::serve, this).detach();
  } catch (const std::system_error&) {
    // The system gives no more threads, so the caller and those that there are do the work.
  }
}

void ThreadPool::serve() {
  std::unique_lock<std::mutex> lock(guard_);
  for (;;) {
    asked_.wait(lock, [this] { return !jobs_.empty(); });
    Job& job = *jobs_.front();
    ++job.active;
    if (--job.wanted == 0) jobs_.pop_front();
    lock.unlock();
    job.work();
    lock.lock();
    if (--job.active == 0) returned_.notify_all();
  }
}

}  // namespace tsl
