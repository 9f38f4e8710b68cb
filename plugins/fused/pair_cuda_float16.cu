#include "pair_cuda_launch.cuh"

namespace vim_fused {

cudaError_t launch_pair_float16(const PairKernelArguments& arguments, const vim_scan::CudaPlan& plan, cudaStream_t stream) {
  return launch_pair_element<vim_scan::Float16>(arguments, plan, stream);
}

cudaError_t launch_conv_float16(const ConvKernelArguments& arguments, cudaStream_t stream) {
  return launch_conv_element<vim_scan::Float16>(arguments, stream);
}

}  // namespace vim_fused
