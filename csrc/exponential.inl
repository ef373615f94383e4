// Included by exponential.cpp once per instruction set.

typedef float FloatVector __attribute__((vector_size(64)));
typedef std::int32_t IntVector __attribute__((vector_size(64)));

// exp(x) = 2^k exp(r) with |r| <= ln(2) / 2 and a polynomial of degree 6: at most 2 ulp away.
inline FloatVector exp_vector(FloatVector x) {
  const IntVector in_range = x > -87.0f;
  const FloatVector clamped = in_range ? x : FloatVector{} - 87.0f;
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
  const FloatVector shifted = clamped * 1.44269504f + 12582912.0f;
  const FloatVector k = shifted - 12582912.0f;
  const FloatVector r = (clamped - k * 0.693359375f) + k * 2.12194440e-4f;
  FloatVector p = r * 1.3981999507e-3f + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntVector power = (__builtin_convertvector(k, IntVector) + 127) << 23;
  const FloatVector result = p * (FloatVector)power;
  return in_range ? result : FloatVector{};
}

inline void exp_block(float* values, std::size_t count) {
  FloatVector block = {};
  std::memcpy(&block, values, count * sizeof(float));
  block = exp_vector(block);
  std::memcpy(values, &block, count * sizeof(float));
}

inline void exp_floats(float* values, std::size_t count) {
  constexpr std::size_t kLanes = sizeof(FloatVector) / sizeof(float);
  std::size_t t = 0;
  for (; t + kLanes <= count; t += kLanes) exp_block(values + t, kLanes);
  exp_block(values + t, count - t);
}
