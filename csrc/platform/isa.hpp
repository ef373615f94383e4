// Instruction sets that the kernels are compiled for, and the choice among them at run time.
#pragma once

#include <stdexcept>
#include <string>

namespace tsl {

enum class Isa { kPlain, kAvx2, kAvx512 };

// The best that this processor has.
Isa best_isa();

inline const char* isa_name(Isa isa) {
  return isa == Isa::kAvx512 ? "avx512" : isa == Isa::kAvx2 ? "avx2" : "plain";
}

// "auto" takes the best that this processor has; a name takes that one, or throws where it lacks.
inline Isa parse_isa(const std::string& name) {
  if (name == "auto") return best_isa();
  for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512})
    if (name == isa_name(isa)) {
      if (isa > best_isa()) throw std::invalid_argument("isa: this processor lacks " + name);
      return isa;
    }
  throw std::invalid_argument("isa: expected auto, plain, avx2 or avx512, got " + name);
}

}  // namespace tsl
