#include "surrogate_loss.hpp"

#include "intrinsics.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "finite.hpp"

#define TSL_KERNELS "surrogate.inl"
#include "foreach_isa.inl"

namespace tsl {

template <class T>
LossTerms SurrogateLoss<T>::compute(const SurrogateOptions& options, const T* x, std::size_t n,
                                    std::size_t d, Isa isa, T* grad_x) {
  cloud_.set(x, n, d, isa);
  memory_.D.resize(n * n);
  cloud_.distances(memory_.D.data());
  if (!all_finite(memory_.D.data(), n * n)) return no_terms();
  if (n < 2) {
    if (grad_x) std::fill_n(grad_x, n * d, T{0});
    return {};
  }
  LossTerms terms;
  TSL_DISPATCH(isa, run_surrogate, n, options, grad_x != nullptr, memory_, terms);
  if (grad_x) {
    cloud_.sum_differences(memory_.D.data(), grad_x);
    multiply_by(memory_.scale, n * d, grad_x);
  }
  return terms;
}

template class SurrogateLoss<float>;
template class SurrogateLoss<double>;

}  // namespace tsl
