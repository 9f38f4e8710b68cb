// The fused operators for GPUs: raw device pointers, sizes and a stream; no framework. README.md in this folder
// specifies the operators, docs/cuda-kernel.md describes the kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "scan_cuda.h"

namespace vim_fused {

using vim_scan::Type;

constexpr std::int64_t kPairMaxState = 16;
constexpr std::int64_t kPairMaxRank = 48;
constexpr std::int64_t kConvMaxWidth = 16;

// ScanPair. All tensors dense, last index fastest, on the device of the stream. The first direction runs forward in
// time, the second backward. Tensors without a type are float32.
struct CudaScanPair {
  std::int64_t batch;     // 0 gives an empty output
  std::int64_t length;    // at least 1
  std::int64_t channels;  // 1 .. vim_scan::kCudaMaxChannels
  std::int64_t state;     // 1 .. kPairMaxState
  std::int64_t rank;      // 1 .. kPairMaxRank
  Type type;              // of xz, u, projection and y
  bool delta_softplus;
  float scale;     // factor of the output
  const void* xz;  // (batch, length, 2 * channels); the second half is the gate
  struct Direction {
    const void* u;              // (batch, length, channels)
    const void* projection;     // (batch, length, rank + 2 * state): time step, B, C
    const float* delta_weight;  // (rank, channels)
    const float* A;             // (state, channels)
    const float* D;             // (channels)
    const float* delta_bias;    // (channels)
  } directions[2];
  void* y;          // (batch, length, channels); must not overlap an input
  void* workspace;  // pair_workspace_bytes(...), 16-byte aligned
};

// CausalConvPair.
struct CudaConvPair {
  std::int64_t batch;     // 0 gives empty outputs
  std::int64_t length;    // at least 1
  std::int64_t channels;  // 1 .. vim_scan::kCudaMaxChannels
  std::int64_t width;     // 1 .. kConvMaxWidth
  Type type;              // of xz and u
  const void* xz;         // (batch, length, 2 * channels); the first half is convolved
  struct Direction {
    const float* taps;  // (width, channels)
    const float* bias;  // (channels)
    void* u;            // (batch, length, channels); must not overlap an input
  } directions[2];
};

// The distribution of ScanPair: a block has kPairThreads threads for each direction.
constexpr int kPairThreads = vim_scan::kCudaThreads / 2;
inline constexpr vim_scan::CudaVariant kPairVariants[] = {
    {8, 2, 2, 16},   // a full GPU
    {1, 16, 1, 16},  // where batch * channels is small
};
constexpr int kPairVariantCount = sizeof(kPairVariants) / sizeof(kPairVariants[0]);

// The plan for a GPU with this number of multiprocessors. Its workspace is that of one direction's chunks.
vim_scan::CudaPlan plan_pair(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state,
                             int multiprocessors);
vim_scan::CudaPlan lay_out_pair(int variant, std::int64_t batch, std::int64_t length, std::int64_t channels,
                                std::int64_t parts);

// The workspace that is sufficient on every GPU: one float for each element of y, and the states between chunks.
std::size_t pair_workspace_bytes(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state);

// An error in the sizes, as a static string, or null.
const char* pair_sizes_error(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state,
                             std::int64_t rank);
const char* conv_sizes_error(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t width);

// Enqueue the operator on a stream of the current device, without allocating or synchronizing. They return null, or an
// error as a static string.
const char* launch_pair(const CudaScanPair& scan, CUstream_st* stream);
const char* launch_conv(const CudaConvPair& conv, CUstream_st* stream);

}  // namespace vim_fused
