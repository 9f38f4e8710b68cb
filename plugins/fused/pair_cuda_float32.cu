#include "pair_cuda_launch.cuh"

namespace vim_fused {

cudaError_t launch_pair_float32(const PairKernelArguments& arguments, const vim_scan::CudaPlan& plan, cudaStream_t stream) {
  return launch_pair_element<vim_scan::Float32>(arguments, plan, stream);
}

cudaError_t launch_conv_float32(const ConvKernelArguments& arguments, cudaStream_t stream) {
  return launch_conv_element<vim_scan::Float32>(arguments, stream);
}

}  // namespace vim_fused
