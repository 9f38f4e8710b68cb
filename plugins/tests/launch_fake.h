// Checks, and fakes of the CUDA kernels, so that tests of the plugins need no GPU.
#pragma once

#include <cstdio>

#include "pair_cuda.h"
#include "scan_cuda.h"

namespace trt_test {

inline int failures = 0;

inline void check(bool holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  std::printf("FAILED line %d: %s\n", line, what);
}

// The last call of a fake kernel, and the error that it returns.
struct Launch {
  int calls = 0;
  vim_scan::CudaArguments arguments{};
  vim_fused::CudaScanPair pair{};
  vim_fused::CudaConvPair conv{};
  CUstream_st* stream = nullptr;
  const char* error = nullptr;
};
inline Launch launch;

}  // namespace trt_test

#define CHECK(condition) trt_test::check((condition), #condition, __LINE__)

namespace vim_scan {

// Not inline, since the plugin's source calls it: include this header in one source file of a program.
const char* launch_cuda(const CudaArguments& arguments, CUstream_st* stream) {
  ++trt_test::launch.calls;
  trt_test::launch.arguments = arguments;
  trt_test::launch.stream = stream;
  return trt_test::launch.error;
}

}  // namespace vim_scan

namespace vim_fused {

const char* launch_pair(const CudaScanPair& scan, CUstream_st* stream) {
  ++trt_test::launch.calls;
  trt_test::launch.pair = scan;
  trt_test::launch.stream = stream;
  return trt_test::launch.error;
}

const char* launch_conv(const CudaConvPair& conv, CUstream_st* stream) {
  ++trt_test::launch.calls;
  trt_test::launch.conv = conv;
  trt_test::launch.stream = stream;
  return trt_test::launch.error;
}

}  // namespace vim_fused
