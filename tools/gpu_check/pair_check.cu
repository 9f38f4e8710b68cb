// The fused operators on a GPU: ScanPair compared with float64 for every type and variant, with and without chunks, with
// memory filled with NaN; then the time of both directions in one launch and in two (`speed`), and of the convolutions.
// `small`: a selection for compute-sanitizer. Each line of output is one JSON object.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "pair_cuda_plan.h"
#include "pair_problem.h"
#include "timing.h"

namespace {

using cuda_test::PairDirection;
using cuda_test::PairSizes;
using vim_scan::Type;

constexpr Type kTypes[] = {Type::kFloat32, Type::kFloat16, Type::kBFloat16};
constexpr const char* kNames[] = {"float32", "float16", "bfloat16"};
// As in the test that runs the same source on a CPU, plus the special-function unit's 2 units in the last place.
constexpr double kTolerance[] = {5e-6, 1.0 / 2048 + 5e-6, 1.0 / 256 + 5e-6};

int cases = 0, failures = 0;
double worst[3] = {0, 0, 0};

// One direction on the device; rounds its values to the type.
struct Direction {
  Device u, projection, delta_weight, A, D, delta_bias;

  Direction(PairDirection& d, Type type)
      : u(upload(type, d.scan.u)), projection(upload(type, d.projection)),
        delta_weight(upload(Type::kFloat32, d.delta_weight)), A(upload(Type::kFloat32, d.A_by_state)),
        D(upload(Type::kFloat32, d.scan.D)), delta_bias(upload(Type::kFloat32, d.scan.delta_bias)) {}
  vim_fused::CudaScanPair::Direction arguments() const {
    return {u.get(), projection.get(), delta_weight.floats(), A.floats(), D.floats(), delta_bias.floats()};
  }
};

// variant -1: the library's plan.
void check(const PairSizes& s, Type type, int variant, int parts) {
  const auto seed = static_cast<unsigned>(++cases);
  PairDirection forward = cuda_test::make_direction(s, false, seed);
  PairDirection backward = cuda_test::make_direction(s, true, seed + 50);
  std::mt19937 random(seed);
  cuda_test::Values xz = cuda_test::draw(random, std::int64_t{s.batch} * s.length * 2 * s.channels, -3, 3);
  const Device xz_memory = upload(type, xz);
  const Direction first(forward, type), second(backward, type);
  cuda_test::project(forward, s, xz);
  cuda_test::project(backward, s, xz);
  const Device y(forward.scan.u.size() * element_bytes(type));
  vim_scan::CudaPlan plan{};
  if (variant >= 0) plan = vim_fused::lay_out_pair(variant, s.batch, s.length, s.channels, parts);
  const std::size_t bytes = vim_fused::pair_workspace_bytes(s.batch, s.length, s.channels, s.state);
  const Device workspace(bytes + 2 * plan.workspace_bytes);
  const vim_fused::CudaScanPair scan{s.batch, s.length, s.channels, s.state, s.rank, type, s.delta_softplus, 0.5f,
                                     xz_memory.get(), {first.arguments(), second.arguments()}, y.get(),
                                     workspace.get()};
  CUDA(cudaDeviceSynchronize());
  cudaStream_t stream;
  CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  succeed(variant >= 0 ? vim_fused::launch_pair_planned(scan, plan, stream) : vim_fused::launch_pair(scan, stream));
  CUDA(cudaStreamSynchronize(stream));
  CUDA(cudaStreamDestroy(stream));
  std::vector<unsigned char> found(y.size());
  CUDA(cudaMemcpy(found.data(), y.get(), found.size(), cudaMemcpyDeviceToHost));
  const std::vector<double> expected = cuda_test::solve_pair(forward, backward, 0.5);
  double error = 0, scale = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double got = to_float(type, &found[i * element_bytes(type)]);
    error = std::isnan(got) ? INFINITY : std::max(error, std::fabs(got - expected[i]));
    scale = std::max(scale, std::fabs(expected[i]));
  }
  const int index = static_cast<int>(type);
  worst[index] = std::max(worst[index], error / scale);
  if (error / scale <= kTolerance[index]) return;
  ++failures;
  std::printf("FAILED %s batch %d length %d channels %d state %d rank %d variant %d parts %d: %.2e\n", kNames[index],
              s.batch, s.length, s.channels, s.state, s.rank, variant, parts, error / scale);
}

void check_all(bool small) {
  for (const Type type : kTypes) {
    for (const int length : {1, 16, 33, 197, 730}) {
      if (small && length > 33) continue;
      check({1, length, small ? 40 : 384, 16, 12, true}, type, -1, 1);
      check({3, length, 37, 15, 5, length % 2 == 0}, type, -1, 1);
    }
    for (int variant = 0; variant < vim_fused::kPairVariantCount; ++variant)
      for (const int parts : {1, 3}) check({2, small ? 70 : 517, 45, 16, 48, true}, type, variant, parts);
  }
}

// Both directions in one launch, at the network's shapes, in float16.
void measure(int batch, int length, int channels, cudaStream_t stream) {
  constexpr int kState = 16, kRank = 12;
  const auto rows = static_cast<std::size_t>(batch) * length, wide = rows * channels;
  const Type half = Type::kFloat16, full = Type::kFloat32;
  const Device xz = drawn(half, 2 * wide, -3, 3, 1), u = drawn(half, wide, -2, 2, 2), v = drawn(half, wide, -2, 2, 3);
  const Device one = drawn(half, rows * (kRank + 2 * kState), -1, 1, 4);
  const Device two = drawn(half, rows * (kRank + 2 * kState), -1, 1, 5);
  const Device weight = drawn(full, static_cast<std::size_t>(kRank) * channels, -1, 0.02f, 6);
  const Device A = drawn(full, static_cast<std::size_t>(kState) * channels, -3, -0.01f, 7);
  const Device D = drawn(full, channels, -1, 1, 8), bias = drawn(full, channels, -2, 1, 9);
  const Device taps = drawn(full, static_cast<std::size_t>(4) * channels, -1, 1, 10);
  const Device y(wide * 2), other(wide * 2);
  const Device workspace(vim_fused::pair_workspace_bytes(batch, length, channels, kState));
  const vim_fused::CudaScanPair scan{
      batch, length, channels, kState, kRank, half, true, 0.5f, xz.get(),
      {{u.get(), one.get(), weight.floats(), A.floats(), D.floats(), bias.floats()},
       {v.get(), two.get(), weight.floats(), A.floats(), D.floats(), bias.floats()}},
      y.get(), workspace.get()};
  const vim_fused::CudaConvPair conv{batch, length, channels, 4, half, xz.get(),
                                     {{taps.floats(), bias.floats(), y.get()},
                                      {taps.floats(), bias.floats(), other.get()}}};
  const double scan_time = median_seconds(stream, [&] { succeed(vim_fused::launch_pair(scan, stream)); });
  const double conv_time = median_seconds(stream, [&] { succeed(vim_fused::launch_conv(conv, stream)); });
  std::printf("{\"step\": \"pair\", \"batch\": %d, \"length\": %d, \"channels\": %d, \"scans_us\": %.2f, "
              "\"convolutions_us\": %.2f}\n", batch, length, channels, scan_time * 1e6, conv_time * 1e6);
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
  const bool small = count > 1 && std::strcmp(arguments[1], "small") == 0;
  check_all(small);
  std::printf("{\"step\": \"pair_numerics\", \"cases\": %d, \"failures\": %d, \"float32\": %.3e, "
              "\"float16\": %.3e, \"bfloat16\": %.3e}\n", cases, failures, worst[0], worst[1], worst[2]);
  if (failures == 0 && !small) {
    cudaStream_t stream;
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (const int batch : {1, 8, 64})
      for (const int length : {197, 730, 6085}) measure(batch, length, 384, stream);
  }
  return failures == 0 ? 0 : 1;
}
