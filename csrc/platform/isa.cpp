#include "platform/isa.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tsl {
namespace {

// Asked of the processor itself: under Zig, __builtin_cpu_supports says that it has nothing.
Isa found() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA)) return Isa::kPlain;
  // Which registers the system keeps for a thread that it stops: bits 1 and 2 for those of AVX,
  // 5 to 7 for those of AVX-512.
  unsigned kept = 0, high = 0;
  __asm__("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return Isa::kPlain;
  if (!(b & bit_AVX2) || (kept & 0x06) != 0x06) return Isa::kPlain;
  const bool has_avx512 = (b & bit_AVX512F) && (b & bit_AVX512DQ) && (kept & 0xe6) == 0xe6;
  return has_avx512 ? Isa::kAvx512 : Isa::kAvx2;
#else
  return Isa::kPlain;
#endif
}

}  // namespace

Isa best_isa() {
  // Asking takes longer than a small cloud: a virtual machine leaves it to its host.
  static const Isa best = found();
  return best;
}

}  // namespace tsl
