// Checks, and a double in place of the CUDA kernel: the tests of the plugins run without a GPU.
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

// The last call that reached the double of the kernel, and what that answers.
struct Launch {
  int calls = 0;
  vim_scan::CudaArguments arguments{};
  CUstream_st* stream = nullptr;
  const char* answer = nullptr;
};
inline Launch launch;

}  // namespace trt_test

#define CHECK(condition) trt_test::check((condition), #condition, __LINE__)

namespace vim_scan {

// Not inline, since the plugin's own source calls it: include this header in one source of a program.
const char* launch_cuda(const CudaArguments& arguments, CUstream_st* stream) {
  ++trt_test::launch.calls;
  trt_test::launch.arguments = arguments;
  trt_test::launch.stream = stream;
  return trt_test::launch.answer;
}

}  // namespace vim_scan
