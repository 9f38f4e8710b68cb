#include "scan_cuda_launch.cuh"

namespace vim_scan {

cudaError_t launch_float16(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream) {
  return launch_element<Float16>(arguments, plan, stream);
}

}  // namespace vim_scan
