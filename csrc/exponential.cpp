#include "exponential.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>

#define TSL_KERNELS "exponential.inl"
#include "foreach_isa.inl"

namespace tsl {

void exp_in_place(float* values, std::size_t count, Isa isa) {
  TSL_DISPATCH(isa, exp_floats, values, count);
}

void exp_in_place(double* values, std::size_t count, Isa) {
  for (std::size_t k = 0; k < count; ++k) values[k] = std::exp(values[k]);
}

}  // namespace tsl
