#include "losses/surrogate_loss.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "geometry/distances.hpp"
#include "geometry/finite.hpp"

#define TSL_KERNELS "losses/surrogate.inl"
#include "platform/foreach_isa.inl"

namespace tsl::losses {

template <class T>
LossTerms SurrogateLoss<T>::compute(const SurrogateOptions& options, const T* x, std::size_t n,
                                    std::size_t d, Isa isa, T* grad_x) {
  memory_.D.resize(n * n);
  geometry::pairwise_distances(x, n, d, memory_.D.data(), isa);
  if (!geometry::all_finite(memory_.D.data(), n * n)) return no_terms();
  if (n < 2) {
    if (grad_x) std::fill_n(grad_x, n * d, T{0});
    return {};
  }
  LossTerms terms;
  TSL_DISPATCH(isa, surrogate::run_surrogate, n, options, grad_x != nullptr, memory_, terms);
  if (grad_x) {
    sums_.write(x, memory_.D.data(), memory_.weights.data(), n, d, grad_x, isa);
    multiply_by(memory_.scale, n * d, grad_x);
  }
  return terms;
}

template class SurrogateLoss<float>;
template class SurrogateLoss<double>;

}  // namespace tsl::losses
