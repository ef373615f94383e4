// Values that the 32 lanes of a warp hold, and what a warp and a block do with them.
//
// The kernels are written for a warp, without a branch that only some of its lanes take: `Words`
// and `Mask` have an entry a lane, `u32` and `bool` are the same in all lanes, and conditions of
// `if` and loops are `bool`. So the same source compiles for a GPU, where a lane is a thread, and
// for the host, where a warp is a thread (lanes_on_host.hpp).
#pragma once

#ifndef __CUDACC__
#include "cuda/lanes_on_host.hpp"
#else

#define TSL_KERNEL_FN __device__ __forceinline__
#define TSL_UNROLL _Pragma("unroll")

namespace tsl::cuda {

using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

using Words = u32;
using Mask = bool;

constexpr u32 kAllLanes = ~u32{0};

TSL_KERNEL_FN Words lane_numbers() { return threadIdx.x % 32; }
TSL_KERNEL_FN Words lanes_below() { return (u32{1} << lane_numbers()) - 1; }

TSL_KERNEL_FN Words select(Mask mask, Words a, Words b) { return mask ? a : b; }
TSL_KERNEL_FN Words minimum(Words a, Words b) { return a < b ? a : b; }
TSL_KERNEL_FN Words maximum(Words a, Words b) { return a < b ? b : a; }
TSL_KERNEL_FN Words ones(Words x) { return __popc(x); }
// Of a word that is not zero.
TSL_KERNEL_FN u32 lowest_one(u32 x) { return __ffs(x) - 1; }
TSL_KERNEL_FN u32 highest_one(u32 x) { return 31 - __clz(x); }

TSL_KERNEL_FN u32 ballot(Mask mask) { return __ballot_sync(kAllLanes, mask); }
TSL_KERNEL_FN u32 from_lane(Words x, u32 lane) { return __shfl_sync(kAllLanes, x, lane); }
// The value of a lane that each lane chooses.
TSL_KERNEL_FN Words from_lanes(Words x, Words lane) { return __shfl_sync(kAllLanes, x, lane); }
TSL_KERNEL_FN u32 least(Words x) { return __reduce_min_sync(kAllLanes, x); }
TSL_KERNEL_FN u32 greatest(Words x) { return __reduce_max_sync(kAllLanes, x); }

// The sum over the lanes before each one; adds the sum of all to `total`.
TSL_KERNEL_FN Words sum_before(Words x, u32& total) {
  u32 sum = x;
  for (u32 step = 1; step < 32; step *= 2) {
    const u32 other = __shfl_up_sync(kAllLanes, sum, step);
    if (lane_numbers() >= step) sum += other;
  }
  total += from_lane(sum, 31);
  return sum - x;
}

// Entries of an array at a place a lane. A load gives 0 to lanes outside of the mask.
template <class T>
TSL_KERNEL_FN Words load(const T* x, Words at, Mask mask) {
  return mask ? static_cast<u32>(x[at]) : 0;
}
template <class T>
TSL_KERNEL_FN Words load(const T* x, Words at) {
  return static_cast<u32>(x[at]);
}
template <class T>
TSL_KERNEL_FN void store(T* x, Words at, Words value, Mask mask) {
  if (mask) x[at] = static_cast<T>(value);
}
TSL_KERNEL_FN void store_minus_one(i64* x, Words at, Mask mask) {
  if (mask) x[at] = -1;
}
// One entry by one lane.
TSL_KERNEL_FN void store_one(u32* x, u32 value) {
  if (lane_numbers() == 0) *x = value;
}

// Atomics at a place a lane; the first two give what was there before.
TSL_KERNEL_FN Words atomic_exchange(u32* x, Words at, u32 value, Mask mask) {
  return mask ? atomicExch(x + at, value) : 0;
}
TSL_KERNEL_FN u32 atomic_add_one(u32* x, u32 value) {
  u32 before = 0;
  if (lane_numbers() == 0) before = atomicAdd(x, value);
  return from_lane(before, 0);
}
TSL_KERNEL_FN void atomic_count(u32* x, Words at, Mask mask) {
  if (mask) atomicAdd(x + at, 1);
}
TSL_KERNEL_FN void atomic_min_one(u32* x, u32 value) {
  if (lane_numbers() == 0) atomicMin(x, value);
}
TSL_KERNEL_FN void atomic_or_one(u32* x, u32 value) {
  if (lane_numbers() == 0) atomicOr(x, value);
}

// Makes what lanes of the warp stored visible to its other lanes.
TSL_KERNEL_FN void sync_warp() { __syncwarp(); }

// The warps that work on one part of the grid, and their shared memory.
struct Block {
  u32 index;
  u32 warp;
  u32 warps;
  u32* shared;

  TSL_KERNEL_FN void sync() const { __syncthreads(); }
};

}  // namespace tsl::cuda

#endif
