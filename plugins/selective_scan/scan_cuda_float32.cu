#include "scan_cuda_launch.cuh"

namespace vim_scan {

cudaError_t launch_float32(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream) {
  return launch_element<Float32>(arguments, plan, stream);
}

}  // namespace vim_scan
