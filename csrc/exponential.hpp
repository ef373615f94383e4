// exp of many numbers at once.
#pragma once

#include <cstddef>

#include "isa.hpp"

namespace tsl {

// values[k] = exp(values[k]) for values that are 0 or negative; below -87 a float gives 0.
void exp_in_place(float* values, std::size_t count, Isa isa);
void exp_in_place(double* values, std::size_t count, Isa isa);

}  // namespace tsl
