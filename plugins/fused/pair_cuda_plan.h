// The launch arguments of the fused operators for GPUs, computed on the host from sizes and addresses only.
#pragma once

#include "pair_cuda.h"
#include "scan_cuda_plan.h"

namespace vim_fused {

struct PairKernelArguments {
  CudaScanPair scan;
  std::int64_t chunk_length;
  std::uint32_t chunks;
  std::uint32_t channel_tiles;
  int rank;               // rounded up to the width of a load from shared memory
  bool wide_rows;         // every thread's channels exist and are aligned for one access
  bool wide_projections;  // likewise for its run of B and C
  float* sums;            // (batch, length, channels): the sums of the direction that reaches a token first
  float* summaries[2];    // the workspace of each direction's chunks
};

PairKernelArguments pair_arguments(const CudaScanPair& scan, const vim_scan::CudaPlan& plan);

// launch_pair with a given plan, for benchmarks and tests.
const char* launch_pair_planned(const CudaScanPair& scan, const vim_scan::CudaPlan& plan, CUstream_st* stream);

// CausalConvPair: a thread computes kConvTokens tokens of kConvChannels adjacent channels.
constexpr int kConvThreads = 128;
constexpr int kConvTokens = 8;
constexpr int kConvChannels = 2;

struct ConvKernelArguments {
  CudaConvPair conv;
  std::uint32_t channel_tiles;
  std::uint32_t token_tiles;
  bool wide;  // every thread's channels exist and are aligned for one access
};

ConvKernelArguments conv_arguments(const CudaConvPair& conv);
std::int64_t conv_blocks(const ConvKernelArguments& arguments);

}  // namespace vim_fused
