// The entry to the CUDA kernels: checks, plans, hands over to the element type's kernels.
#include <cuda_runtime_api.h>

#include "scan_cuda_plan.h"

namespace vim_scan {

cudaError_t launch_float32(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream);
cudaError_t launch_float16(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream);
cudaError_t launch_bfloat16(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream);

namespace {

cudaError_t count_multiprocessors(int& count) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
}

cudaError_t launch_type(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream) {
  switch (arguments.scan.type) {
    case Type::kFloat32: return launch_float32(arguments, plan, stream);
    case Type::kFloat16: return launch_float16(arguments, plan, stream);
    case Type::kBFloat16: return launch_bfloat16(arguments, plan, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

const char* launch_planned(const CudaArguments& arguments, const CudaPlan& plan, cudaStream_t stream) {
  if (plan.workspace_bytes > 0 && arguments.workspace == nullptr) return "SelectiveScan: the workspace is missing";
  const cudaError_t error = launch_type(kernel_arguments(arguments, plan), plan, stream);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

const char* launch_cuda(const CudaArguments& arguments, cudaStream_t stream) {
  const CudaArguments& a = arguments;
  if (const char* wrong = cuda_sizes_error(a.batch, a.length, a.channels, a.state)) return wrong;
  if (a.batch == 0) return nullptr;
  int multiprocessors = 0;
  const cudaError_t error = count_multiprocessors(multiprocessors);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return launch_planned(a, plan_cuda(a.batch, a.length, a.channels, a.state, multiprocessors), stream);
}

}  // namespace vim_scan
