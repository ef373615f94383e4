// exp of all lanes of a vector, for numbers that are 0 or negative. Included by surrogate.inl.
#if defined(TSL_EXPONENTIAL_INL) == defined(TSL_TARGET_TOGGLE)
#ifdef TSL_EXPONENTIAL_INL
#undef TSL_EXPONENTIAL_INL
#else
#define TSL_EXPONENTIAL_INL
#endif

#include <cmath>
#include <cstdint>

#include "geometry/lanes.inl"

namespace tsl::TSL_TARGET::lanes {

// exp(x) = 2^k exp(r) with |r| <= ln(2) / 2 and a polynomial of degree 6: at most 2 ulp away. Below
// -87 it gives 0.
inline Vector<float> exp_lanes(Vector<float> x) {
  typedef std::int32_t Integers __attribute__((vector_size(kRegisterBytes)));
  typedef typename Vector<float>::Register Register;
  for (auto& part : x.part) {
    const Integers in_range = part > -87.0f;
    const Register clamped = in_range ? part : Register{} - 87.0f;
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
    const Register shifted = clamped * 1.44269504f + 12582912.0f;
    const Register k = shifted - 12582912.0f;
    const Register r = (clamped - k * 0.693359375f) + k * 2.12194440e-4f;
    Register p = r * 1.3981999507e-3f + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const Integers power = (__builtin_convertvector(k, Integers) + 127) << 23;
    const Register result = p * (Register)power;
    part = in_range ? result : Register{};
  }
  return x;
}

inline Vector<double> exp_lanes(const Vector<double>& x) {
  double lanes[Vector<double>::kLanes];
  store(lanes, x);
  for (double& lane : lanes) lane = std::exp(lane);
  return load(lanes);
}

}  // namespace tsl::TSL_TARGET::lanes

#endif
