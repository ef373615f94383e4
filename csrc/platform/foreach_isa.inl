// Compiles the file TSL_KERNELS once per instruction set, and defines for it:
//   TSL_ISA            0 (plain), 2 (AVX2) or 512 (AVX-512)
//   TSL_TARGET         the namespace that this instruction set's code goes to, below tsl
//   TSL_TARGET_TOGGLE  defined in every second pass, for the guards of .inl files
//   kRegisterBytes     the width of a register
//
// An .inl file opens a namespace of its own, tsl::TSL_TARGET::name: helpers of one name in two
// files would otherwise be one function to the linker. It includes what it uses; headers are read
// in the first pass, which has no target, so their functions run on any processor. An .inl file
// that others include is guarded so that each pass reads it once:
//   #if defined(NAME) == defined(TSL_TARGET_TOGGLE)
//   #ifdef NAME
//   #undef NAME
//   #else
//   #define NAME
//   #endif
//   ...
//   #endif
#include <cstddef>

#include "platform/intrinsics.hpp"
#include "platform/isa.hpp"

#define TSL_ISA 0
#define TSL_TARGET plain
namespace tsl::TSL_TARGET {
constexpr std::size_t kRegisterBytes = 16;
}
#include TSL_KERNELS
#undef TSL_TARGET
#undef TSL_ISA

#if defined(__x86_64__)

#define TSL_ISA 2
#define TSL_TARGET avx2
#define TSL_TARGET_TOGGLE
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace tsl::TSL_TARGET {
constexpr std::size_t kRegisterBytes = 32;
}
#include TSL_KERNELS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef TSL_TARGET_TOGGLE
#undef TSL_TARGET
#undef TSL_ISA

#define TSL_ISA 512
#define TSL_TARGET avx512
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512dq"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512dq,prefer-vector-width=512")
#endif
namespace tsl::TSL_TARGET {
constexpr std::size_t kRegisterBytes = 64;
}
#include TSL_KERNELS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef TSL_TARGET
#undef TSL_ISA

// Calls FUNCTION of the namespace that `isa` names.
#define TSL_DISPATCH(isa, FUNCTION, ...)                               \
  ((isa) == ::tsl::Isa::kAvx512 ? ::tsl::avx512::FUNCTION(__VA_ARGS__) \
   : (isa) == ::tsl::Isa::kAvx2 ? ::tsl::avx2::FUNCTION(__VA_ARGS__)   \
                                : ::tsl::plain::FUNCTION(__VA_ARGS__))
#else
#define TSL_DISPATCH(isa, FUNCTION, ...) ((void)(isa), ::tsl::plain::FUNCTION(__VA_ARGS__))
#endif
