// The memory of a tensor as DLPack describes it: far cheaper to ask for than a NumPy array of it.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "bindings/arguments.hpp"
#include "rips/filtration.hpp"

namespace tsl::bindings {

// The layout is fixed by DLPack 0.2 to 0.8 (dlpack.h), which torch.utils.dlpack.to_dlpack gives.
struct DLTensor {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t ndim;
  std::uint8_t code, bits;
  std::uint16_t lanes;
  const std::int64_t* shape;
  const std::int64_t* strides;  // may be null, where the tensor is contiguous
  std::uint64_t byte_offset;

  static constexpr std::int32_t kCpu = 1;
  static constexpr std::uint8_t kFloat = 2;

  // Whether the entries lie in row-major order without gaps.
  bool contiguous() const {
    std::int64_t expected = 1;
    bool packed = true;
    for (std::int32_t k = ndim; k-- > 0;) {
      if (shape[k] == 0) return true;
      packed &= strides == nullptr || shape[k] == 1 || strides[k] == expected;
      expected *= shape[k];
    }
    return packed;
  }

  // Whether the engine can read the entries where they are.
  bool readable() const {
    const bool is_float = code == kFloat && lanes == 1 && (bits == 32 || bits == 64);
    return device_type == kCpu && is_float && contiguous();
  }

  template <class T>
  const T* entries() const {
    return reinterpret_cast<const T*>(static_cast<const char*>(data) + byte_offset);
  }
};

// The tensor of a capsule, which keeps owning it.
inline const DLTensor& tensor_of(const py::capsule& memory) {
  const void* tensor = PyCapsule_GetPointer(memory.ptr(), "dltensor");
  if (tensor == nullptr) throw py::error_already_set();
  return *static_cast<const DLTensor*>(tensor);  // the first member of DLManagedTensor
}

// The tensor's clouds [..., n, d], or matrices [..., n, n], of at least one point and coordinate,
// if the engine can read them where they are.
inline std::optional<Batch> readable_batch(const DLTensor& x) {
  if (!x.readable() || x.ndim < 2) return std::nullopt;
  const std::int64_t n = x.shape[x.ndim - 2], d = x.shape[x.ndim - 1];
  if (n == 0 || d == 0 || n > static_cast<std::int64_t>(rips::kMaxPoints)) return std::nullopt;
  Batch batch{Shape(x.shape, x.shape + x.ndim - 2), 1, static_cast<std::size_t>(n),
              static_cast<std::size_t>(d)};
  batch.B = product(batch.lead);
  return batch;
}

}  // namespace tsl::bindings
