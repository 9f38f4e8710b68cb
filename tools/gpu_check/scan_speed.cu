// Compares the kernel's time with its lower bound. First the limits of the GPU are measured (copy bandwidth, powers of
// two per second), then both directions at the network's shapes, as replays of a captured CUDA graph over several sets
// of tensors. Each line of output is one JSON object. `plans` times every plan for batch 1 and 8, to check the
// estimates in scan_cuda_plan.cpp.
#include <cstring>

#include "timing.h"

namespace {

using vim_scan::Type;

constexpr const char* kNames[] = {"float32", "float16", "bfloat16"};
constexpr int kPowers = 4096;

__global__ void powers(float* out) {
  float x[8];
  for (int i = 0; i < 8; ++i) x[i] = -1e-3f * static_cast<float>(threadIdx.x + i);
  for (int round = 0; round < kPowers / 8; ++round) {
#pragma unroll
    for (int i = 0; i < 8; ++i) asm volatile("ex2.approx.ftz.f32 %0, %0;" : "+f"(x[i]));
  }
  float sum = 0;
  for (int i = 0; i < 8; ++i) sum += x[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

struct Ceilings {
  double bytes_per_second, powers_per_second;
  int multiprocessors;
};

Ceilings measure_ceilings(cudaStream_t stream) {
  Ceilings ceilings{};
  CUDA(cudaDeviceGetAttribute(&ceilings.multiprocessors, cudaDevAttrMultiProcessorCount, 0));
  const std::size_t bytes = std::size_t{1} << 30;
  const Device from(bytes), to(bytes);
  const double copy = median_seconds(stream, [&] {
    CUDA(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice, stream));
  });
  ceilings.bytes_per_second = 2.0 * static_cast<double>(bytes) / copy;
  const int blocks = ceilings.multiprocessors * 8;
  const double time =
      median_seconds(stream, [&] { powers<<<blocks, 256, 0, stream>>>(static_cast<float*>(to.get())); });
  ceilings.powers_per_second = 256.0 * blocks * kPowers / time;
  return ceilings;
}

// As in floors.py: each tensor once; one power for each state, one for softplus, a power and a reciprocal for silu.
double floor_seconds(const Ceilings& ceilings, double batch, double length, double channels, double state, Type type) {
  const double rows = batch * length;
  const double bytes = rows * (4 * channels + 2 * state) * static_cast<double>(element_bytes(type));
  return std::max(bytes / ceilings.bytes_per_second, rows * channels * (state + 3) / ceilings.powers_per_second);
}

// The time of a forward and a reverse scan, in seconds; `plan` null: the library's plan.
double pair_seconds(std::vector<TimedTensors>& sets, const vim_scan::CudaPlan* plan, cudaStream_t stream) {
  const double all = median_seconds(stream, [&] {
    for (TimedTensors& tensors : sets) {
      for (const bool reverse : {false, true}) {
        tensors.arguments.reverse = reverse;
        succeed(plan != nullptr ? vim_scan::launch_planned(tensors.arguments, *plan, stream)
                                : vim_scan::launch_cuda(tensors.arguments, stream));
      }
    }
  });
  return all / static_cast<double>(sets.size());
}

void print_line(const char* step, int batch, int length, int channels, Type type, const vim_scan::CudaPlan& plan,
                double seconds, double floor) {
  std::printf("{\"step\": \"%s\", \"type\": \"%s\", \"batch\": %d, \"length\": %d, \"channels\": %d, \"variant\": %d, "
              "\"chunks\": %d, \"both_directions_us\": %.2f, \"floor_us\": %.2f, \"ratio\": %.2f}\n",
              step, kNames[static_cast<int>(type)], batch, length, channels, plan.variant,
              static_cast<int>(plan.chunks), seconds * 1e6, floor * 1e6, seconds / floor);
  std::fflush(stdout);
}

void measure_shape(const Ceilings& ceilings, int batch, int length, int channels, Type type, bool plans,
                   cudaStream_t stream) {
  std::vector<TimedTensors> sets = make_sets(batch, length, channels, type);
  const double floor = 2 * floor_seconds(ceilings, batch, length, channels, 16, type);
  const vim_scan::CudaPlan chosen = vim_scan::plan_cuda(batch, length, channels, 16, ceilings.multiprocessors);
  print_line("speed", batch, length, channels, type, chosen, pair_seconds(sets, nullptr, stream), floor);
  if (!plans) return;
  for (const int variant : {1, 2}) {
    for (const int parts : {1, 2, 4, 8, 16, 32}) {
      const vim_scan::CudaPlan plan = vim_scan::lay_out_cuda(variant, batch, length, channels, parts);
      if (plan.workspace_bytes > vim_scan::cuda_workspace_bytes(channels, 16)) continue;
      print_line("plan", batch, length, channels, type, plan, pair_seconds(sets, &plan, stream), floor);
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  const bool plans = count > 1 && std::strcmp(arguments[1], "plans") == 0;
  cudaStream_t stream;
  CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const Ceilings ceilings = measure_ceilings(stream);
  std::printf("{\"step\": \"limits\", \"bytes_per_second\": %.4g, \"powers_per_second\": %.4g, "
              "\"multiprocessors\": %d}\n",
              ceilings.bytes_per_second, ceilings.powers_per_second, ceilings.multiprocessors);
  for (const int batch : {1, 8, 64}) {
    for (const int length : {197, 730, 6085}) {
      for (const int channels : {384, 768, 1536}) {
        if (plans && batch == 64) continue;
        measure_shape(ceilings, batch, length, channels, Type::kFloat16, plans, stream);
      }
    }
    if (plans) continue;
    for (const Type type : {Type::kFloat32, Type::kBFloat16}) {
      measure_shape(ceilings, batch, 197, 384, type, false, stream);
    }
  }
  CUDA(cudaStreamDestroy(stream));
  return 0;
}
