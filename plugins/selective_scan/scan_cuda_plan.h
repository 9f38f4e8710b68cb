// The kernels' launch arguments, computed on the host from sizes and addresses only.
#pragma once

#include "scan_cuda.h"

namespace vim_scan {

struct KernelArguments {
  CudaArguments scan;
  std::int64_t chunk_length;
  std::uint32_t chunks;       // in the whole sequence
  std::uint32_t grid_chunks;  // in this launch; the last one needs no summary
  std::uint32_t channel_tiles;
  bool wide_rows;         // every thread's channels exist and are aligned for one access
  bool wide_projections;  // likewise for its run of B and C
};

// The number of adjacent values of B and C that a thread loads.
constexpr int projection_run(const CudaVariant& variant) {
  return variant.time * variant.states * variant.lanes / kCudaThreads;
}

// The number of adjacent channels of a block.
constexpr int block_channels(const CudaVariant& variant) { return kCudaThreads / variant.lanes * variant.channels; }

// The variants of a kernel whose blocks have `threads` threads for each direction. The blocks of all kernels have
// kCudaThreads threads.
struct CudaVariants {
  const CudaVariant* first;
  int count;
  int threads;
};

// The plan with about `parts` chunks; the best plan; the largest workspace of all plans, for every batch and length.
// The workspace is that of one direction.
CudaPlan lay_out(const CudaVariants& variants, int variant, std::int64_t batch, std::int64_t length,
                 std::int64_t channels, std::int64_t parts);
CudaPlan choose_plan(const CudaVariants& variants, std::int64_t batch, std::int64_t length, std::int64_t channels,
                     std::int64_t state, int multiprocessors);
std::size_t most_workspace_bytes(const CudaVariants& variants, std::int64_t channels, std::int64_t state);

// Whether an access of this size is aligned.
bool aligned(const void* pointer, std::size_t bytes);

KernelArguments kernel_arguments(const CudaArguments& arguments, const CudaPlan& plan);

// launch_cuda with a given plan, for benchmarks and tests. The sizes must be supported, and the workspace must have at
// least plan.workspace_bytes.
const char* launch_planned(const CudaArguments& arguments, const CudaPlan& plan, CUstream_st* stream);

// The plan of a variant with about `parts` chunks.
CudaPlan lay_out_cuda(int variant, std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t parts);

}  // namespace vim_scan
