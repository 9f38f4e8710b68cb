// Shared by the benchmarks: timing of replayed CUDA graphs, and random tensors generated on the GPU.
#pragma once

#include <algorithm>
#include <vector>

#include "device.h"
#include "scan_cuda_math.cuh"

constexpr int kReplays = 15;

// The median time in seconds of the work that `work` enqueues on the stream, replayed as a graph. A first run outside
// of the graph loads the kernels, which is not allowed while a stream is captured.
template <class Work>
double median_seconds(cudaStream_t stream, const Work& work) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  work();
  CUDA(cudaStreamSynchronize(stream));
  CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  work();
  CUDA(cudaStreamEndCapture(stream, &graph));
  CUDA(cudaGraphInstantiate(&executable, graph, 0));
  cudaEvent_t begin, end;
  CUDA(cudaEventCreate(&begin));
  CUDA(cudaEventCreate(&end));
  std::vector<float> times(kReplays);
  for (int warm_up = 0; warm_up < 3; ++warm_up) CUDA(cudaGraphLaunch(executable, stream));
  for (float& milliseconds : times) {
    CUDA(cudaEventRecord(begin, stream));
    CUDA(cudaGraphLaunch(executable, stream));
    CUDA(cudaEventRecord(end, stream));
    CUDA(cudaEventSynchronize(end));
    CUDA(cudaEventElapsedTime(&milliseconds, begin, end));
  }
  CUDA(cudaEventDestroy(begin));
  CUDA(cudaEventDestroy(end));
  CUDA(cudaGraphExecDestroy(executable));
  CUDA(cudaGraphDestroy(graph));
  std::sort(times.begin(), times.end());
  return times[kReplays / 2] * 1e-3;
}

// Uniform random numbers between low and high, determined by the seed.
template <class Element>
__global__ void draw(typename Element::Bits* to, std::size_t count, float low, float high, std::uint32_t seed) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    auto bits = static_cast<std::uint32_t>(i) * 2654435761u + seed * 40503u;
    bits = (bits ^ (bits >> 15)) * 2246822519u;
    bits = (bits ^ (bits >> 13)) * 3266489917u;
    const float fraction = static_cast<float>((bits ^ (bits >> 16)) >> 8) * (1.0f / 16777216.0f);
    to[i] = Element::from_float(low + (high - low) * fraction);
  }
}

inline Device drawn(vim_scan::Type type, std::size_t count, float low, float high, std::uint32_t seed) {
  Device device(count * element_bytes(type));
  if (type == vim_scan::Type::kFloat16)
    draw<vim_scan::Float16><<<1024, 256>>>(static_cast<std::uint16_t*>(device.get()), count, low, high, seed);
  else if (type == vim_scan::Type::kBFloat16)
    draw<vim_scan::BFloat16><<<1024, 256>>>(static_cast<std::uint16_t*>(device.get()), count, low, high, seed);
  else
    draw<vim_scan::Float32><<<1024, 256>>>(static_cast<std::uint32_t*>(device.get()), count, low, high, seed);
  CUDA(cudaGetLastError());
  return device;
}

// Values in the ranges of cuda_problem.h, generated on the GPU, since the large shapes would take minutes on the host.
// They are independent of the layout, so that both scans can use them.
struct TimedTensors {
  Device u, delta, A, B, C, D, z, delta_bias, y, workspace;
  vim_scan::CudaArguments arguments;

  TimedTensors(int batch, int length, int channels, int state, vim_scan::Type type)
      : u(drawn(type, elements(batch, length, channels), -2, 2, 1)),
        delta(drawn(type, elements(batch, length, channels), -4, 1, 2)),
        A(drawn(vim_scan::Type::kFloat32, elements(1, channels, state), -3, -0.01f, 3)),
        B(drawn(type, elements(batch, length, state), -1, 1, 4)),
        C(drawn(type, elements(batch, length, state), -1, 1, 5)),
        D(drawn(vim_scan::Type::kFloat32, elements(1, 1, channels), -1, 1, 6)),
        z(drawn(type, elements(batch, length, channels), -3, 3, 7)),
        delta_bias(drawn(vim_scan::Type::kFloat32, elements(1, 1, channels), -2, 1, 8)),
        y(elements(batch, length, channels) * element_bytes(type)),
        workspace(vim_scan::cuda_workspace_bytes(channels, state)) {
    arguments = {batch, length, channels, state, type, true, false, u.get(), delta.get(), A.floats(), B.get(),
                 C.get(), D.floats(), z.get(), delta_bias.floats(), y.get(), workspace.get()};
  }

  static std::size_t elements(int a, int b, int c) {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
  }
};

// 2 to 16 sets of tensors, which together exceed the L2 cache several times if possible.
inline std::vector<TimedTensors> make_sets(int batch, int length, int channels, vim_scan::Type type) {
  const double bytes = 4.0 * batch * length * channels * static_cast<double>(element_bytes(type));
  const int count = static_cast<int>(std::min(16.0, std::max(2.0, 256e6 / bytes)));
  std::vector<TimedTensors> sets;
  sets.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) sets.emplace_back(batch, length, channels, 16, type);
  CUDA(cudaDeviceSynchronize());
  return sets;
}
