// The memory of a tensor as DLPack describes it: far cheaper to ask for than a NumPy array of it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tsl::bindings {

namespace py = pybind11;

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

// A view of the tensor of a capsule, which it keeps alive.
inline py::array array_of(const py::capsule& memory, const char* name) {
  const DLTensor& x = tensor_of(memory);
  if (!x.readable())
    throw py::type_error(std::string(name) +
                         ": expected a contiguous CPU tensor of float32 or float64");
  const auto type = x.bits == 32 ? py::dtype::of<float>() : py::dtype::of<double>();
  return py::array(type, std::vector<py::ssize_t>(x.shape, x.shape + x.ndim), x.entries<void>(),
                   memory);
}

}  // namespace tsl::bindings
