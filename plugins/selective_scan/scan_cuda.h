// The selective scan on a GPU: raw device pointers, sizes and a stream; no framework.
// README.md in this folder is the operator's contract, docs/cuda-kernel.md the design.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;

namespace vim_scan {

// The type of u, delta, B, C, z and y. A, D, delta_bias and the state are always float32.
enum class Type : std::int32_t { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };

constexpr std::int64_t kCudaMaxState = 256;
// Positions within a tile of tokens are counted in 32 bits.
constexpr std::int64_t kCudaMaxChannels = std::int64_t{1} << 24;

// All tensors dense, last index fastest, on the device of the stream.
struct CudaArguments {
  std::int64_t batch;    // 0 gives an empty output
  std::int64_t length;   // at least 1
  std::int64_t channels; // 1 .. kCudaMaxChannels
  std::int64_t state;    // 1 .. kCudaMaxState
  Type type;
  bool delta_softplus;
  bool reverse;
  const void* u;            // (batch, length, channels)
  const void* delta;        // (batch, length, channels)
  const float* A;           // (channels, state)
  const void* B;            // (batch, length, state)
  const void* C;            // (batch, length, state)
  const float* D;           // (channels)
  const void* z;            // (batch, length, channels)
  const float* delta_bias;  // (channels)
  void* y;                  // (batch, length, channels); must not overlap an input
  void* workspace;          // cuda_workspace_bytes(channels, state), 16-byte aligned; null if that is 0
  std::int32_t groups = 1;  // of channels / groups channels, which share a row of B and C
};

// The launch configuration of a call. It depends only on sizes, so that it can be tested without a GPU.
struct CudaPlan {
  int variant;                 // index into kCudaVariants
  std::int64_t chunks;         // parts of the sequence that run in parallel; 1: no workspace is used
  std::int64_t chunk_length;   // tokens per part; the last one may be shorter
  std::int64_t channel_tiles;  // blocks side by side over the channels
  std::int64_t blocks;         // batch * chunks * channel_tiles
  std::size_t workspace_bytes;
};

// A distribution of the work: `lanes` threads hold `states` states each, of `channels` adjacent channels. A block
// covers kCudaThreads / lanes * channels channels and processes `time` tokens at once.
struct CudaVariant {
  int states;
  int lanes;
  int channels;
  int time;
};

constexpr int kCudaThreads = 128;
inline constexpr CudaVariant kCudaVariants[] = {
    {2, 4, 2, 16},   // state up to 8
    {4, 4, 2, 16},   // up to 16, the tuned one
    {1, 16, 1, 32},  // up to 16 where batch * channels is small
    {4, 8, 2, 16},   // up to 32
    {4, 16, 2, 16},  // up to 64
    {16, 16, 1, 16}, // up to 256
};
constexpr int kCudaVariantCount = sizeof(kCudaVariants) / sizeof(kCudaVariants[0]);

// The plan for a GPU with this number of multiprocessors. Sizes as in CudaArguments, batch at least 1.
CudaPlan plan_cuda(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state,
                   int multiprocessors);

// The workspace that is sufficient for every batch and length on every GPU.
std::size_t cuda_workspace_bytes(std::int64_t channels, std::int64_t state);

// An error in the sizes, as a static string, or null.
const char* cuda_sizes_error(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state);

// Enqueues the scan on a stream of the current device. It does not allocate, synchronize or use another stream, so it
// can be captured in a CUDA graph. Returns null, or an error as a static string.
const char* launch_cuda(const CudaArguments& arguments, CUstream_st* stream);

}  // namespace vim_scan
