// Compiles the file TSL_KERNELS once per instruction set, each in a namespace of its own.
// Headers that TSL_KERNELS needs must be included before this file. kRegisterBytes is the width of
// the instruction set's registers.
#define TSL_ISA 0
namespace tsl {
namespace plain {
constexpr std::size_t kRegisterBytes = 16;
#include TSL_KERNELS
}  // namespace plain
}  // namespace tsl
#undef TSL_ISA

#if defined(__x86_64__)

#define TSL_ISA 2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace tsl {
namespace avx2 {
constexpr std::size_t kRegisterBytes = 32;
#include TSL_KERNELS
}  // namespace avx2
}  // namespace tsl
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef TSL_ISA

#define TSL_ISA 512
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512dq"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512dq,prefer-vector-width=512")
#endif
namespace tsl {
namespace avx512 {
constexpr std::size_t kRegisterBytes = 64;
#include TSL_KERNELS
}  // namespace avx512
}  // namespace tsl
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef TSL_ISA

// Calls FUNCTION of the namespace that `isa` names.
#define TSL_DISPATCH(isa, FUNCTION, ...)                               \
  ((isa) == ::tsl::Isa::kAvx512 ? ::tsl::avx512::FUNCTION(__VA_ARGS__) \
   : (isa) == ::tsl::Isa::kAvx2 ? ::tsl::avx2::FUNCTION(__VA_ARGS__)   \
                                : ::tsl::plain::FUNCTION(__VA_ARGS__))
#else
#define TSL_DISPATCH(isa, FUNCTION, ...) ((void)(isa), ::tsl::plain::FUNCTION(__VA_ARGS__))
#endif
