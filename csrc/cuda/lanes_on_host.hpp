// What lanes.hpp says, for the host: a warp is a thread, which does the lanes one after the other.
#pragma once

#include <pthread.h>

#include <cstdint>

#define TSL_KERNEL_FN inline
#define TSL_UNROLL

namespace tsl::cuda {

using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i64 = std::int64_t;

constexpr u32 kAllLanes = ~u32{0};

template <class T>
struct Lanes {
  T at[32];

  Lanes() = default;
  Lanes(T same) {
    for (T& value : at) value = same;
  }

  template <class Function>
  static auto each(Function function) {
    Lanes<decltype(function(0))> out;
    for (u32 k = 0; k < 32; ++k) out.at[k] = function(k);
    return out;
  }

#define TSL_EACH(OPERATOR)                                                                       \
  friend auto operator OPERATOR(const Lanes& a, const Lanes& b) {                                \
    return each([&](u32 k) -> decltype(T {} OPERATOR T{}) { return a.at[k] OPERATOR b.at[k]; }); \
  }
  TSL_EACH(<)
  TSL_EACH(<=)
  TSL_EACH(>=)
  TSL_EACH(==)
  TSL_EACH(!=)
#undef TSL_EACH
#define TSL_EACH(OPERATOR)                                             \
  friend Lanes operator OPERATOR(const Lanes& a, const Lanes& b) {     \
    return each([&](u32 k) -> T { return a.at[k] OPERATOR b.at[k]; }); \
  }
  TSL_EACH(+)
  TSL_EACH(-)
  TSL_EACH(*)
  TSL_EACH(/)
  TSL_EACH(%)
  TSL_EACH(&)
  TSL_EACH(|)
  TSL_EACH(^)
  TSL_EACH(<<)
  TSL_EACH(>>)
#undef TSL_EACH
  Lanes operator~() const {
    return each([&](u32 k) -> T { return ~at[k]; });
  }
  Lanes operator!() const {
    return each([&](u32 k) -> T { return !at[k]; });
  }
};

using Words = Lanes<u32>;
using Mask = Lanes<bool>;

inline Words lane_numbers() {
  return Words::each([](u32 k) { return k; });
}
inline Words lanes_below() {
  return Words::each([](u32 k) { return (u32{1} << k) - 1; });
}

inline Words select(const Mask& mask, const Words& a, const Words& b) {
  return Words::each([&](u32 k) { return mask.at[k] ? a.at[k] : b.at[k]; });
}
inline Words minimum(const Words& a, const Words& b) { return select(a < b, a, b); }
inline Words maximum(const Words& a, const Words& b) { return select(a < b, b, a); }
inline u32 ones(u32 x) { return static_cast<u32>(__builtin_popcount(x)); }
inline Words ones(const Words& x) {
  return Words::each([&](u32 k) { return ones(x.at[k]); });
}
inline u32 lowest_one(u32 x) { return static_cast<u32>(__builtin_ctz(x)); }
inline u32 highest_one(u32 x) { return 31 - static_cast<u32>(__builtin_clz(x)); }

inline u32 ballot(const Mask& mask) {
  u32 votes = 0;
  for (u32 k = 0; k < 32; ++k) votes |= u32{mask.at[k]} << k;
  return votes;
}
inline u32 from_lane(const Words& x, u32 lane) { return x.at[lane % 32]; }
inline Words from_lanes(const Words& x, const Words& lane) {
  return Words::each([&](u32 k) { return x.at[lane.at[k] % 32]; });
}
inline u32 least(const Words& x) {
  u32 found = x.at[0];
  for (const u32 value : x.at) found = value < found ? value : found;
  return found;
}
inline u32 greatest(const Words& x) {
  u32 found = 0;
  for (const u32 value : x.at) found = value > found ? value : found;
  return found;
}
inline Words sum_before(const Words& x, u32& total) {
  u32 sum = 0;
  const Words before = Words::each([&](u32 k) {
    const u32 now = sum;
    sum += x.at[k];
    return now;
  });
  total += sum;
  return before;
}

template <class T>
Words load(const T* x, const Words& at, const Mask& mask) {
  return Words::each([&](u32 k) { return mask.at[k] ? static_cast<u32>(x[at.at[k]]) : 0; });
}
template <class T>
Words load(const T* x, const Words& at) {
  return load(x, at, true);
}
template <class T>
void store(T* x, const Words& at, const Words& value, const Mask& mask) {
  for (u32 k = 0; k < 32; ++k)
    if (mask.at[k]) x[at.at[k]] = static_cast<T>(value.at[k]);
}
inline void store_minus_one(i64* x, const Words& at, const Mask& mask) {
  for (u32 k = 0; k < 32; ++k)
    if (mask.at[k]) x[at.at[k]] = -1;
}
inline void store_one(u32* x, u32 value) { *x = value; }

inline Words atomic_exchange(u32* x, const Words& at, u32 value, const Mask& mask) {
  return Words::each([&](u32 k) {
    return mask.at[k] ? __atomic_exchange_n(x + at.at[k], value, __ATOMIC_RELAXED) : 0;
  });
}
inline u32 atomic_add_one(u32* x, u32 value) {
  return __atomic_fetch_add(x, value, __ATOMIC_RELAXED);
}
inline void atomic_count(u32* x, const Words& at, const Mask& mask) {
  for (u32 k = 0; k < 32; ++k)
    if (mask.at[k]) __atomic_fetch_add(x + at.at[k], 1, __ATOMIC_RELAXED);
}
inline void atomic_min_one(u32* x, u32 value) {
  u32 now = __atomic_load_n(x, __ATOMIC_RELAXED);
  while (value < now &&
         !__atomic_compare_exchange_n(x, &now, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}
inline void atomic_or_one(u32* x, u32 value) { __atomic_fetch_or(x, value, __ATOMIC_RELAXED); }

inline void sync_warp() {}

struct Block {
  u32 index;
  u32 warp;
  u32 warps;
  u32* shared;
  pthread_barrier_t* barrier;

  void sync() const { pthread_barrier_wait(barrier); }
};

}  // namespace tsl::cuda
