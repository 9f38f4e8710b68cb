// What the kernels are launched with, made on the host from sizes and addresses alone.
#pragma once

#include "scan_cuda.h"

namespace vim_scan {

struct KernelArguments {
  CudaArguments scan;
  std::int64_t chunk_length;
  std::uint32_t chunks;       // in the whole sequence
  std::uint32_t grid_chunks;  // in this launch: without the last one where only summaries are made
  std::uint32_t channel_tiles;
  bool wide_rows;         // every thread's run of channels lies so that wide accesses reach it
  bool wide_projections;  // the same for its run of B and C
};

// How many neighbouring channels a thread loads and stores, and how many values of B and C it loads.
constexpr int channel_run(const CudaVariant& variant) { return variant.time / variant.lanes; }
constexpr int projection_run(const CudaVariant& variant) {
  return variant.time * variant.states * variant.lanes / kCudaThreads;
}

KernelArguments kernel_arguments(const CudaArguments& arguments, const CudaPlan& plan);

// launch_cuda with a plan of one's own, for measuring and for tests. The arguments' sizes must be served, the
// workspace must hold plan.workspace_bytes.
const char* launch_planned(const CudaArguments& arguments, const CudaPlan& plan, CUstream_st* stream);

// Lays the sizes out with a given variant over about that many chunks.
CudaPlan lay_out_cuda(int variant, std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t parts);

}  // namespace vim_scan
