// Launches the kernels of one element type. Each type has its own source file, so that they compile in parallel.
#pragma once

#include <cuda_runtime_api.h>

#include "conv_cuda_kernel.cuh"
#include "pair_cuda_kernel.cuh"

namespace vim_fused {

// Resident blocks per multiprocessor. In float16 and bfloat16 three of the first variant: batch 64 with 384 channels is
// 384 blocks, 2.9 for each of the 132 multiprocessors of an H100 or H200. Summaries are only computed for smaller
// grids.
template <bool kOutput, class Element, class S>
constexpr int pair_blocks() {
  if (S::kLanes > 2) return 4;
  return kOutput && sizeof(typename Element::Bits) == 2 ? 3 : 2;
}

template <bool kOutput, class Element, class S>
__global__ void __launch_bounds__(vim_scan::kCudaThreads, (pair_blocks<kOutput, Element, S>()))
    pair_kernel(const PairKernelArguments arguments) {
  extern __shared__ __align__(16) char pair_memory[];
  pair_block<kOutput, Element, S>(arguments, pair_memory);
}

template <bool kOutput, class Element, class S>
cudaError_t launch_pass(const PairKernelArguments& arguments, std::int64_t blocks, cudaStream_t stream) {
  const auto rank = static_cast<std::size_t>(arguments.rank);
  const std::size_t bytes = 2 * (sizeof(vim_scan::Shared<S>) + sizeof(float) * (rank * (S::kChannels + S::kTime) + 2 * S::kChannels));
  if (bytes > 48 << 10) {
    const cudaError_t error = cudaFuncSetAttribute(pair_kernel<kOutput, Element, S>,
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(bytes));
    if (error != cudaSuccess) return error;
  }
  pair_kernel<kOutput, Element, S>
      <<<static_cast<unsigned>(blocks), vim_scan::kCudaThreads, bytes, stream>>>(arguments);
  return cudaGetLastError();
}

template <class Element, class S>
cudaError_t launch_pair_shape(const PairKernelArguments& arguments, const vim_scan::CudaPlan& plan,
                              cudaStream_t stream) {
  if (plan.chunks > 1) {
    const cudaError_t error = launch_pass<false, Element, S>(arguments, plan.blocks, stream);
    if (error != cudaSuccess) return error;
  }
  return launch_pass<true, Element, S>(arguments, plan.blocks, stream);
}

template <class Element>
cudaError_t launch_pair_element(const PairKernelArguments& arguments, const vim_scan::CudaPlan& plan,
                                cudaStream_t stream) {
  static_assert(kPairVariantCount == 2, "one case for each variant");
  switch (plan.variant) {
    case 0: return launch_pair_shape<Element, PairShape<0>>(arguments, plan, stream);
    case 1: return launch_pair_shape<Element, PairShape<1>>(arguments, plan, stream);
    default: return cudaErrorInvalidConfiguration;
  }
}

constexpr int kUsualWidth = 4;  // of the network's convolutions

template <class Element, bool kAnyWidth>
__global__ void __launch_bounds__(kConvThreads) conv_kernel(const ConvKernelArguments arguments) {
  if constexpr (kAnyWidth) {
    conv_thread_any<Element>(arguments);
  } else {
    conv_thread<Element, kUsualWidth>(arguments);
  }
}

template <class Element>
cudaError_t launch_conv_element(const ConvKernelArguments& arguments, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(conv_blocks(arguments));
  if (arguments.conv.width == kUsualWidth) {
    conv_kernel<Element, false><<<blocks, kConvThreads, 0, stream>>>(arguments);
  } else {
    conv_kernel<Element, true><<<blocks, kConvThreads, 0, stream>>>(arguments);
  }
  return cudaGetLastError();
}

}  // namespace vim_fused
