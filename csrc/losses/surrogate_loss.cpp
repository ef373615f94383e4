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
  D_.resize(n * n);
  geometry::pairwise_distances(x, n, d, D_.data(), isa);
  if (!geometry::all_finite(D_.data(), n * n)) return no_terms(n * d, grad_x);
  if (n < 2) {
    if (grad_x) std::fill_n(grad_x, n * d, T{0});
    return {};
  }
  if (grad_x) weights_.resize(n * n);
  SurrogateResult result;
  TSL_DISPATCH(isa, surrogate::run_surrogate, n, options, D_.data(),
               grad_x ? weights_.data() : nullptr, memory_, result);
  if (grad_x) {
    sums_.write(x, D_.data(), weights_.data(), n, d, grad_x, isa);
    multiply_by(result.scale, n * d, grad_x);
  }
  return result.terms;
}

template class SurrogateLoss<float>;
template class SurrogateLoss<double>;

}  // namespace tsl::losses
