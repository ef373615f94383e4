// Whether numbers are finite, fast enough to ask at every step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace tsl::geometry {

// NaN and infinity have every exponent bit set: adding one to the exponent then carries into the
// top bit, and the loop has no branch.
template <class T>
bool all_finite(const T* values, std::size_t count) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr unsigned kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr Bits kTop = Bits{1} << (sizeof(T) * 8 - 1);
  constexpr Bits kOne = Bits{1} << kMantissa;
  constexpr Bits kExponent = kTop - kOne;
  Bits carries = 0;
  for (std::size_t k = 0; k < count; ++k) {
    Bits bits;
    std::memcpy(&bits, values + k, sizeof bits);
    carries |= (bits & kExponent) + kOne;
  }
  return (carries & kTop) == 0;
}

}  // namespace tsl::geometry
