// Compares the kernel on a GPU with float64: every type, both directions, with and without softplus, odd lengths, every
// variant, with and without chunks, with memory filled with NaN. `small`: a selection for compute-sanitizer.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "device.h"

namespace {

using vim_scan::Type;

constexpr Type kTypes[] = {Type::kFloat32, Type::kFloat16, Type::kBFloat16};
constexpr const char* kNames[] = {"float32", "float16", "bfloat16"};
// As in the test that runs the same source on a CPU, plus the special-function unit's 2 units in the last place.
constexpr double kTolerance[] = {5e-6, 1.0 / 2048 + 5e-6, 1.0 / 256 + 5e-6};

struct Sizes {
  int batch, length, channels, state;
};

int cases = 0, failures = 0;
double worst[3] = {0, 0, 0};

double largest_difference(const Tensors& tensors, const cuda_test::Problem& problem, Type type) {
  std::vector<unsigned char> bytes(tensors.y.size());
  CUDA(cudaMemcpy(bytes.data(), tensors.y.get(), bytes.size(), cudaMemcpyDeviceToHost));
  const std::vector<double> expected = problem.solve();
  double error = 0, scale = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double got = to_float(type, &bytes[i * element_bytes(type)]);
    if (std::isnan(got)) return INFINITY;
    error = std::max(error, std::fabs(got - expected[i]));
    scale = std::max(scale, std::fabs(expected[i]));
  }
  return error / scale;
}

// variant -1: the library's plan.
void check(const Sizes& s, Type type, bool softplus, bool reverse, int variant, int parts) {
  const auto seed = static_cast<unsigned>(++cases);
  cuda_test::Problem problem =
      cuda_test::make_problem(s.batch, s.length, s.channels, s.state, softplus, reverse, seed);
  vim_scan::CudaPlan plan{};
  if (variant >= 0) plan = vim_scan::lay_out_cuda(variant, s.batch, s.length, s.channels, parts);
  const Tensors tensors(problem, type, std::max(plan.workspace_bytes,
                                                vim_scan::cuda_workspace_bytes(s.channels, s.state)));
  cudaStream_t stream;
  CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CUDA(cudaDeviceSynchronize());
  succeed(variant >= 0 ? vim_scan::launch_planned(tensors.arguments, plan, stream)
                       : vim_scan::launch_cuda(tensors.arguments, stream));
  CUDA(cudaStreamSynchronize(stream));
  CUDA(cudaStreamDestroy(stream));
  const int index = static_cast<int>(type);
  const double error = largest_difference(tensors, problem, type);
  worst[index] = std::max(worst[index], error);
  if (error <= kTolerance[index]) return;
  ++failures;
  std::printf("FAILED %s batch %d length %d channels %d state %d softplus %d reverse %d variant %d parts %d: %.2e\n",
              kNames[index], s.batch, s.length, s.channels, s.state, softplus, reverse, variant, parts, error);
}

void check_planned(bool small) {
  for (const int length : {1, 197, 730, 6085}) {
    if (small && length > 197) continue;
    for (const Sizes& s : {Sizes{1, length, 384, 16}, Sizes{3, length, 37, 16}, Sizes{2, length, 40, 7},
                           Sizes{1, length, 24, 64}, Sizes{1, length, 9, 200}}) {
      if (small && s.channels > 40) continue;
      for (const Type type : kTypes) {
        for (const bool reverse : {false, true}) check(s, type, length != 730, reverse, -1, 1);
      }
    }
  }
}

void check_variants(bool small) {
  for (int variant = 0; variant < vim_scan::kCudaVariantCount; ++variant) {
    const vim_scan::CudaVariant& shape = vim_scan::kCudaVariants[variant];
    for (const int parts : {1, 3, 7}) {
      for (const Type type : kTypes) {
        check({2, small ? 133 : 517, 45, shape.states * shape.lanes - variant % 2}, type, true, parts == 3, variant,
              parts);
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  const bool small = count > 1 && std::strcmp(arguments[1], "small") == 0;
  check_planned(small);
  check_variants(small);
  std::printf("{\"step\": \"numerics\", \"cases\": %d, \"failures\": %d, \"float32\": %.3e, \"float16\": %.3e, "
              "\"bfloat16\": %.3e}\n", cases, failures, worst[0], worst[1], worst[2]);
  return failures == 0 ? 0 : 1;
}
