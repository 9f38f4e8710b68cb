// Launches the baseline scan. As in the public kernel, a block's threads and tokens depend on the length: 32 threads up
// to 512 tokens, 64 up to 1024, otherwise 128, with up to 16 tokens each.
#include "scan_baseline.h"

#include <cuda_runtime_api.h>

#include "scan_baseline.cuh"

namespace scan_baseline {
namespace {

template <class Element, int kThreads, int kItems>
__global__ void __launch_bounds__(kThreads, kThreads < 128 ? 5 : 3) kernel(const Arguments arguments) {
  __shared__ Shared<kThreads, kItems> shared;
  scan_block<Element, kThreads, kItems>(arguments, shared);
}

template <class Element, int kThreads, int kItems>
cudaError_t launch(const Arguments& a, cudaStream_t stream) {
  kernel<Element, kThreads, kItems><<<static_cast<unsigned>(a.batch * a.channels), kThreads, 0, stream>>>(a);
  return cudaGetLastError();
}

template <class Element>
cudaError_t launch_length(const Arguments& a, cudaStream_t stream) {
  if (a.length <= 128) return launch<Element, 32, 4>(a, stream);
  if (a.length <= 256) return launch<Element, 32, 8>(a, stream);
  if (a.length <= 512) return launch<Element, 32, 16>(a, stream);
  if (a.length <= 1024) return launch<Element, 64, 16>(a, stream);
  return launch<Element, 128, 16>(a, stream);
}

}  // namespace
}  // namespace scan_baseline

int scan_baseline_launch(int float16, const scan_baseline::Arguments* arguments, CUstream_st* stream) {
  if (arguments->state < 1 || arguments->state > scan_baseline::kMaxState) return cudaErrorInvalidValue;
  return float16 != 0 ? scan_baseline::launch_length<vim_scan::Float16>(*arguments, stream)
                      : scan_baseline::launch_length<vim_scan::Float32>(*arguments, stream);
}
