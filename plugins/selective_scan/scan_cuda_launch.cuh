// Launches the kernels of one element type. Each type has its own source file, so that they compile in parallel.
#pragma once

#include <cuda_runtime_api.h>

#include "scan_cuda_kernel.cuh"

namespace vim_scan {

// Resident blocks per multiprocessor: as many as the registers allow without spilling. With six, all 768 blocks of
// batch 64 and 384 channels are resident on the 132 multiprocessors of an H100 or H200.
template <class Element, class S>
constexpr int min_blocks() {
  if (S::kPadded > 64) return 2;
  if (S::kPadded > 16) return 4;
  return sizeof(typename Element::Bits) == 2 ? 5 : 4;
}

template <bool kOutput, class Element, class S>
__global__ void __launch_bounds__(kCudaThreads, (min_blocks<Element, S>()))
    scan_kernel(const KernelArguments arguments) {
  __shared__ Shared<S> shared;
  scan_block<kOutput, Element>(arguments, shared);
}

template <class Element, class S>
cudaError_t launch_shape(KernelArguments arguments, const CudaPlan& plan, cudaStream_t stream) {
  if (arguments.chunks > 1) {
    arguments.grid_chunks = arguments.chunks - 1;
    const auto blocks = static_cast<unsigned>(plan.blocks / plan.chunks * (plan.chunks - 1));
    scan_kernel<false, Element, S><<<blocks, kCudaThreads, 0, stream>>>(arguments);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  arguments.grid_chunks = arguments.chunks;
  scan_kernel<true, Element, S><<<static_cast<unsigned>(plan.blocks), kCudaThreads, 0, stream>>>(arguments);
  return cudaGetLastError();
}

template <class Element>
cudaError_t launch_element(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream) {
  static_assert(kCudaVariantCount == 6, "one case for each variant");
  switch (plan.variant) {
    case 0: return launch_shape<Element, Shape<0>>(arguments, plan, stream);
    case 1: return launch_shape<Element, Shape<1>>(arguments, plan, stream);
    case 2: return launch_shape<Element, Shape<2>>(arguments, plan, stream);
    case 3: return launch_shape<Element, Shape<3>>(arguments, plan, stream);
    case 4: return launch_shape<Element, Shape<4>>(arguments, plan, stream);
    case 5: return launch_shape<Element, Shape<5>>(arguments, plan, stream);
    default: return cudaErrorInvalidConfiguration;
  }
}

}  // namespace vim_scan
