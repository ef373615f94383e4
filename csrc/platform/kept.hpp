// The working memory of engines, kept by each thread from call to call: for small clouds, to
// allocate it and to touch its pages for the first time takes longer than to compute in it.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <utility>

namespace tsl {

// For clouds of more points the memory is given back at the end of a call.
constexpr std::size_t kMostKeptPoints = 1024;

// An Engine with whatever memory this thread's last one had; for clouds of n points. One that an
// exception stopped amid its work is not kept.
template <class Engine>
std::shared_ptr<Engine> kept_engine(std::size_t n) {
  static thread_local std::unique_ptr<Engine> kept;
  std::unique_ptr<Engine> engine = std::move(kept);
  if (!engine) engine = std::make_unique<Engine>();
  if (n > kMostKeptPoints) return std::shared_ptr<Engine>(std::move(engine));
  return std::shared_ptr<Engine>(engine.release(), [](Engine* used) {
    std::unique_ptr<Engine> done(used);
    if (std::uncaught_exceptions() == 0) kept = std::move(done);
  });
}

}  // namespace tsl
