// Entry points of the fused operators for GPUs: check the sizes, select a plan, launch the kernels of the element type.
#include <cuda_runtime_api.h>

#include "cuda_error.h"
#include "pair_cuda_plan.h"

namespace vim_fused {

cudaError_t launch_pair_float32(const PairKernelArguments&, const vim_scan::CudaPlan&, cudaStream_t);
cudaError_t launch_pair_float16(const PairKernelArguments&, const vim_scan::CudaPlan&, cudaStream_t);
cudaError_t launch_pair_bfloat16(const PairKernelArguments&, const vim_scan::CudaPlan&, cudaStream_t);
cudaError_t launch_conv_float32(const ConvKernelArguments&, cudaStream_t);
cudaError_t launch_conv_float16(const ConvKernelArguments&, cudaStream_t);
cudaError_t launch_conv_bfloat16(const ConvKernelArguments&, cudaStream_t);

const char* launch_pair_planned(const CudaScanPair& scan, const vim_scan::CudaPlan& plan, cudaStream_t stream) {
  if (scan.workspace == nullptr) return "ScanPair: the workspace is missing";
  const PairKernelArguments arguments = pair_arguments(scan, plan);
  switch (scan.type) {
    case Type::kFloat32: return vim_scan::error_text(launch_pair_float32(arguments, plan, stream));
    case Type::kFloat16: return vim_scan::error_text(launch_pair_float16(arguments, plan, stream));
    case Type::kBFloat16: return vim_scan::error_text(launch_pair_bfloat16(arguments, plan, stream));
  }
  return "ScanPair: unknown type";
}

const char* launch_pair(const CudaScanPair& scan, cudaStream_t stream) {
  if (const char* wrong = pair_sizes_error(scan.batch, scan.length, scan.channels, scan.state, scan.rank)) return wrong;
  if (scan.batch == 0) return nullptr;
  int multiprocessors = 0;
  if (const char* error = vim_scan::error_text(vim_scan::count_multiprocessors(multiprocessors))) return error;
  return launch_pair_planned(scan, plan_pair(scan.batch, scan.length, scan.channels, scan.state, multiprocessors),
                             stream);
}

const char* launch_conv(const CudaConvPair& conv, cudaStream_t stream) {
  if (const char* wrong = conv_sizes_error(conv.batch, conv.length, conv.channels, conv.width)) return wrong;
  if (conv.batch == 0) return nullptr;
  const ConvKernelArguments arguments = conv_arguments(conv);
  switch (conv.type) {
    case Type::kFloat32: return vim_scan::error_text(launch_conv_float32(arguments, stream));
    case Type::kFloat16: return vim_scan::error_text(launch_conv_float16(arguments, stream));
    case Type::kBFloat16: return vim_scan::error_text(launch_conv_bfloat16(arguments, stream));
  }
  return "CausalConvPair: unknown type";
}

}  // namespace vim_fused
