// How a call that takes long is stopped while it computes.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

namespace tsl {

// Thrown where a call that has to stop was computing.
struct Stopped {};

// A call of the engine, which several threads may work for. About every tenth of a second it asks
// its caller, on the caller's thread, whether to go on.
class Call {
 public:
  // `goes_on` must not throw.
  explicit Call(std::function<bool()> goes_on) : goes_on_(std::move(goes_on)) {}

  // Asks, where it is time to and this is the caller's thread; false once the call has to stop.
  bool goes_on();

  bool has_stopped() const { return stopped_; }

  // How long the caller is not asked.
  static constexpr std::chrono::milliseconds kPause{100};

 private:
  using Clock = std::chrono::steady_clock;

  std::function<bool()> goes_on_;
  std::thread::id caller_ = std::this_thread::get_id();
  std::atomic<bool> stopped_{false};
  Clock::time_point asked_{};
};

// While it lives, this thread works for the call.
class WorkFor {
 public:
  explicit WorkFor(Call& call);
  ~WorkFor();
  WorkFor(const WorkFor&) = delete;
  WorkFor& operator=(const WorkFor&) = delete;

 private:
  Call* before_;
};

// Stands in a long loop, which passes it at every step: once in `every` steps it looks at the clock
// and at the call that this thread works for, and throws Stopped if that has to stop. A step then
// costs a decrement.
class Checkpoint {
 public:
  explicit Checkpoint(unsigned every) : every_(every), left_(every) {}

  void pass() {
    if (--left_ == 0) look();
  }

 private:
  void look();

  unsigned every_;
  unsigned left_;
};

}  // namespace tsl
