// A library with a C interface to both scans, for gpu_scan.py.
#include "scan_baseline.cuh"
#include "scan_baseline.h"
#include "scan_cuda.h"

extern "C" {

// The sizes of the structs in bytes, so that a binding can check its declarations.
int gpu_check_sizes(int which) {
  return static_cast<int>(which == 0 ? sizeof(vim_scan::CudaArguments) : sizeof(scan_baseline::Arguments));
}

std::int64_t gpu_check_workspace(std::int64_t channels, std::int64_t state) {
  return static_cast<std::int64_t>(vim_scan::cuda_workspace_bytes(channels, state));
}

const char* gpu_check_scan(const vim_scan::CudaArguments* arguments, CUstream_st* stream) {
  return vim_scan::launch_cuda(*arguments, stream);
}

}  // extern "C"
