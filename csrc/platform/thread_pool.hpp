// Threads that help callers with their work, kept from call to call.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>

namespace tsl {

// A new thread often begins on the processor of its maker and waits there for it; one that has run
// before is woken on another. Any number of callers share the threads of a process.
class ThreadPool {
 public:
  // That of this process: a fork leaves the child without the threads, so it gets a pool of its
  // own.
  static ThreadPool& of_process();

  // Calls `work` on this thread and on up to `helpers` others, and returns when all that began have
  // returned. While it waits for them it calls `meanwhile` after each `pause`. Neither must throw.
  void run(std::size_t helpers, const std::function<void()>& work, std::chrono::milliseconds pause,
           const std::function<void()>& meanwhile);

 private:
  struct Job {
    const std::function<void()>& work;
    std::size_t wanted;
    std::size_t active;
  };

  void make_threads(std::size_t count);
  void serve();

  std::mutex guard_;
  std::condition_variable asked_;
  std::condition_variable returned_;
  // Jobs that want more threads.
  std::deque<Job*> jobs_;
  std::size_t threads_ = 0;
};

}  // namespace tsl
