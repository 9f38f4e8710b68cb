// Checks, and a fake of the CUDA kernel, so that tests of the plugins need no GPU.
#pragma once

#include <cstdio>

#include "scan_cuda.h"

namespace trt_test {

inline int failures = 0;

inline void check(bool holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  std::printf("FAILED line %d: %s\n", line, what);
}

// The last call of the fake kernel, and the error that it returns.
struct Launch {
  int calls = 0;
  vim_scan::CudaArguments arguments{};
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
