// Tells from the distances alone that the lune of an edge is not empty.
#if defined(TSL_LUNES_INL) == defined(TSL_TARGET_TOGGLE)
#ifdef TSL_LUNES_INL
#undef TSL_LUNES_INL
#else
#define TSL_LUNES_INL
#endif

#include <cstddef>
#include <cstring>

#include "rips/bit_rows.inl"
#include "rips/filtration.hpp"

namespace tsl::TSL_TARGET::lunes {

using namespace bit_rows;
using namespace rips;

// Vertices between two looks at whether one was found: a cache line of distances, or two.
template <class T>
constexpr std::size_t kLuneBlock = 128 / sizeof(T);

// Whether one of kLuneBlock vertices is nearer than `length` to both ends, whose rows are given.
template <class T>
inline bool any_nearer(const T* a, const T* b, T length) {
  constexpr std::size_t kLanes = kRegisterBytes / sizeof(T);
  typedef T Register __attribute__((vector_size(kRegisterBytes)));
  auto near = Register{} < Register{};
  for (std::size_t k = 0; k < kLuneBlock<T>; k += kLanes) {
    Register to_a, to_b;
    std::memcpy(&to_a, a + k, sizeof to_a);
    std::memcpy(&to_b, b + k, sizeof to_b);
    near |= (to_a < length) & (to_b < length);
  }
  return any_bit((typename BitsOf<kRegisterBytes>::type)near);
}

// Whether a vertex is nearer to both ends of the edge than these are to each other. If none is, the
// lune holds at most vertices whose sides tie with the edge.
template <class T>
bool any_nearer_than(const T* D, std::size_t n, const FiltrationEdge<T>& ij) {
  const T* a = D + first(ij.edge) * n;
  const T* b = D + second(ij.edge) * n;
  std::size_t k = 0;
  for (; k + kLuneBlock<T> <= n; k += kLuneBlock<T>)
    if (any_nearer(a + k, b + k, ij.length)) return true;
  for (; k < n; ++k)
    if (a[k] < ij.length && b[k] < ij.length) return true;
  return false;
}

}  // namespace tsl::TSL_TARGET::lunes

#endif
