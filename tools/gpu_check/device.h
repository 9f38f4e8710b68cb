// Shared by the GPU programs: device memory, and a problem's tensors on the device.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda_problem.h"
#include "scan_cuda_plan.h"

inline void succeed(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(3);
}
#define CUDA(call) succeed((call), #call)

inline void succeed(const char* wrong) {
  if (wrong == nullptr) return;
  std::fprintf(stderr, "%s\n", wrong);
  std::exit(3);
}

// Device memory with every byte 0xff, which is NaN in every type, so that values that are not written are detected.
class Device {
 public:
  explicit Device(std::size_t bytes) : bytes_(bytes) {
    CUDA(cudaMalloc(&data_, bytes > 0 ? bytes : 1));
    CUDA(cudaMemset(data_, 0xff, bytes));
  }
  Device(Device&& other) noexcept : data_(other.data_), bytes_(other.bytes_) { other.data_ = nullptr; }
  Device(const Device&) = delete;
  ~Device() { cudaFree(data_); }
  void* get() const { return data_; }
  const float* floats() const { return static_cast<const float*>(data_); }
  std::size_t size() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_;
};

inline std::size_t element_bytes(vim_scan::Type type) { return type == vim_scan::Type::kFloat32 ? 4 : 2; }

// The bits of a value in the type; rounds `value` to the type.
inline std::uint32_t from_float(vim_scan::Type type, float& value) {
  std::uint32_t bits = 0;
  if (type == vim_scan::Type::kFloat16) {
    const __half half = __float2half_rn(value);
    value = __half2float(half);
    std::memcpy(&bits, &half, 2);
  } else if (type == vim_scan::Type::kBFloat16) {
    const __nv_bfloat16 half = __float2bfloat16_rn(value);
    value = __bfloat162float(half);
    std::memcpy(&bits, &half, 2);
  } else {
    std::memcpy(&bits, &value, 4);
  }
  return bits;
}

inline float to_float(vim_scan::Type type, const unsigned char* bits) {
  if (type == vim_scan::Type::kFloat16) {
    __half half;
    std::memcpy(&half, bits, 2);
    return __half2float(half);
  }
  if (type == vim_scan::Type::kBFloat16) {
    __nv_bfloat16 half;
    std::memcpy(&half, bits, 2);
    return __bfloat162float(half);
  }
  float value;
  std::memcpy(&value, bits, 4);
  return value;
}

// Copies the values in the type, rounding them in place.
inline Device upload(vim_scan::Type type, cuda_test::Values& values) {
  const std::size_t element = element_bytes(type);
  std::vector<unsigned char> bytes(values.size() * element);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint32_t bits = from_float(type, values[i]);
    std::memcpy(&bytes[i * element], &bits, element);
  }
  Device device(bytes.size());
  CUDA(cudaMemcpy(device.get(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  return device;
}

// A problem on the device; rounds the problem's values to the type.
struct Tensors {
  Device u, delta, A, B, C, D, z, delta_bias, y, workspace;
  vim_scan::CudaArguments arguments;

  Tensors(cuda_test::Problem& p, vim_scan::Type type, std::size_t workspace_bytes)
      : u(upload(type, p.u)), delta(upload(type, p.delta)), A(upload(vim_scan::Type::kFloat32, p.A)),
        B(upload(type, p.B)), C(upload(type, p.C)), D(upload(vim_scan::Type::kFloat32, p.D)),
        z(upload(type, p.z)), delta_bias(upload(vim_scan::Type::kFloat32, p.delta_bias)),
        y(p.u.size() * element_bytes(type)), workspace(workspace_bytes) {
    arguments = {p.batch, p.length, p.channels, p.state, type, p.delta_softplus, p.reverse, u.get(), delta.get(),
                 A.floats(), B.get(), C.get(), D.floats(), z.get(), delta_bias.floats(), y.get(), workspace.get()};
  }
};
