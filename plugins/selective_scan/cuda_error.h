// Shared by the entry points of the CUDA kernels.
#pragma once

#include <cuda_runtime_api.h>

// The oldest driver that runs programs of this CUDA version.
#if __CUDACC_VER_MAJOR__ == 13
#define VIM_CUDA_DRIVER "CUDA 13, which needs an NVIDIA driver from 580 on"
#elif __CUDACC_VER_MAJOR__ == 12
#define VIM_CUDA_DRIVER "CUDA 12, which needs an NVIDIA driver from 525 on"
#else
#define VIM_CUDA_DRIVER "a CUDA version that is newer than the NVIDIA driver"
#endif

namespace vim_scan {

// The multiprocessors of the current device.
inline cudaError_t count_multiprocessors(int& count) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
}

// The error as a static string, or null.
inline const char* error_text(cudaError_t error) {
  if (error == cudaSuccess) return nullptr;
  if (error == cudaErrorInsufficientDriver)
    return "vim_deploy: this library was built with " VIM_CUDA_DRIVER "; update the driver, or build the library with "
           "an older CUDA";
  return cudaGetErrorString(error);
}

}  // namespace vim_scan
