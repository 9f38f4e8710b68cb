// Entry point of the CUDA kernels: checks the sizes, selects a plan, launches the kernels of the element type.
#include <cuda_runtime_api.h>

#include "cuda_error.h"
#include "export.h"
#include "scan_cuda_plan.h"

namespace vim_scan {

cudaError_t launch_float32(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream);
cudaError_t launch_float16(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream);
cudaError_t launch_bfloat16(const KernelArguments& arguments, const CudaPlan& plan, cudaStream_t stream);

namespace {

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
  return error_text(launch_type(kernel_arguments(arguments, plan), plan, stream));
}

const char* launch_cuda(const CudaArguments& arguments, cudaStream_t stream) {
  const CudaArguments& a = arguments;
  if (a.groups < 1 || a.channels % a.groups != 0) return "SelectiveScan: the groups do not divide the channels";
  // Blocks treat a group like a batch element with fewer channels.
  const std::int64_t sequences = a.batch * a.groups, channels = a.channels / a.groups;
  if (const char* wrong = cuda_sizes_error(sequences, a.length, channels, a.state)) return wrong;
  if (a.batch == 0) return nullptr;
  int multiprocessors = 0;
  if (const char* error = error_text(count_multiprocessors(multiprocessors))) return error;
  return launch_planned(a, plan_cuda(sequences, a.length, channels, a.state, multiprocessors), stream);
}

}  // namespace vim_scan

// The CUDA version that the library was built with, such as 13000: the driver must support its major version.
extern "C" VIM_EXPORT int vim_deploy_cuda_version() { return CUDART_VERSION; }
