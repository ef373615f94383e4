#include "platform/stop.hpp"

namespace tsl {
namespace {

thread_local Call* current = nullptr;

}  // namespace

bool Call::goes_on() {
  if (stopped_) return false;
  if (std::this_thread::get_id() != caller_) return true;
  const Clock::time_point now = Clock::now();
  // Most calls are over before the clock is looked at twice.
  if (asked_ == Clock::time_point{}) asked_ = now;
  if (now - asked_ < kPause) return true;
  if (!goes_on_()) stopped_ = true;
  asked_ = Clock::now();
  return !stopped_;
}

WorkFor::WorkFor(Call& call) : before_(current) { current = &call; }
WorkFor::~WorkFor() { current = before_; }

void Checkpoint::look() {
  left_ = every_;
  if (current && !current->goes_on()) throw Stopped{};
}

}  // namespace tsl
