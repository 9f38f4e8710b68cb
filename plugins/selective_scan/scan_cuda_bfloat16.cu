#include "scan_cuda_launch.cuh"

namespace vim_scan {

cudaError_t launch_bfloat16(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream) {
  return launch_element<BFloat16>(arguments, plan, stream);
}

}  // namespace vim_scan
