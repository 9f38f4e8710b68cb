// Compares the project's scan with the baseline (scan_baseline.cuh): both directions at Vim's shapes in float16,
// replayed as CUDA graphs. The baseline's time does not include the flips that it needs for the reverse direction. Both
// are first compared with float64. Each line of output is one JSON object.
#include <cmath>

#include "scan_baseline.cuh"
#include "scan_baseline.h"
#include "timing.h"

namespace {

using vim_scan::Type;

scan_baseline::Arguments baseline_of(const vim_scan::CudaArguments& a) {
  return {a.batch, a.channels, a.length, static_cast<int>(a.state), a.delta_softplus, a.u, a.delta, a.A,
          a.B,     a.C,        a.D,      a.z,                       a.delta_bias,     a.y};
}

void run_baseline(const scan_baseline::Arguments& arguments, cudaStream_t stream) {
  succeed(static_cast<cudaError_t>(scan_baseline_launch(1, &arguments, stream)), "scan_baseline_launch");
}

// (batch, length, rows) as (batch, rows, length).
cuda_test::Values length_last(const cuda_test::Values& values, std::int64_t batch, std::int64_t length) {
  const std::int64_t rows = static_cast<std::int64_t>(values.size()) / (batch * length);
  cuda_test::Values transposed(values.size());
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t t = 0; t < length; ++t)
      for (std::int64_t r = 0; r < rows; ++r)
        transposed[(b * rows + r) * length + t] = values[(b * length + t) * rows + r];
  return transposed;
}

bool agrees(int batch, int length, int channels) {
  cuda_test::Problem p = cuda_test::make_problem(batch, length, channels, 16, true, false, 1);
  const Tensors ours(p, Type::kFloat16, vim_scan::cuda_workspace_bytes(channels, 16));
  cuda_test::Problem transposed = p;  // its values are already rounded to the type
  for (cuda_test::Values* values : {&transposed.u, &transposed.delta, &transposed.B, &transposed.C, &transposed.z})
    *values = length_last(*values, batch, length);
  const Tensors theirs(transposed, Type::kFloat16, 0);
  succeed(vim_scan::launch_cuda(ours.arguments, nullptr));
  run_baseline(baseline_of(theirs.arguments), nullptr);
  CUDA(cudaDeviceSynchronize());
  std::vector<unsigned char> found[2];
  for (int i = 0; i < 2; ++i) {
    const Tensors& tensors = i == 0 ? ours : theirs;
    found[i].resize(tensors.y.size());
    CUDA(cudaMemcpy(found[i].data(), tensors.y.get(), found[i].size(), cudaMemcpyDeviceToHost));
  }
  const std::vector<double> expected = p.solve();
  double error[2] = {0, 0}, scale = 0;
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t t = 0; t < length; ++t)
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::int64_t first = (b * length + t) * channels + c, last = (b * channels + c) * length + t;
        scale = std::max(scale, std::fabs(expected[first]));
        error[0] = std::max(error[0], std::fabs(to_float(Type::kFloat16, &found[0][2 * first]) - expected[first]));
        error[1] = std::max(error[1], std::fabs(to_float(Type::kFloat16, &found[1][2 * last]) - expected[first]));
      }
  const double allowed = 1.0 / 2048 + 5e-6;  // half a unit in the last place of float16, plus the kernels' error
  const bool good = error[0] <= allowed * scale && error[1] <= allowed * scale;
  std::printf("{\"step\": \"agreement\", \"batch\": %d, \"length\": %d, \"channels\": %d, \"ours\": %.2e, "
              "\"baseline\": %.2e, \"passed\": %s}\n",
              batch, length, channels, error[0] / scale, error[1] / scale, good ? "true" : "false");
  return good;
}

void compare(int batch, int length, int channels, cudaStream_t stream) {
  std::vector<TimedTensors> sets = make_sets(batch, length, channels, Type::kFloat16);
  const double count = static_cast<double>(sets.size());
  const auto ours = [&] {
    for (TimedTensors& tensors : sets)
      for (const bool reverse : {false, true}) {
        tensors.arguments.reverse = reverse;
        succeed(vim_scan::launch_cuda(tensors.arguments, stream));
      }
  };
  const auto theirs = [&] {
    for (const TimedTensors& tensors : sets)
      for (int direction = 0; direction < 2; ++direction) run_baseline(baseline_of(tensors.arguments), stream);
  };
  double seconds[2] = {INFINITY, INFINITY};
  for (int turn = 0; turn < 2; ++turn) {  // alternating, so that clock drift affects both
    seconds[0] = std::min(seconds[0], median_seconds(stream, ours) / count);
    seconds[1] = std::min(seconds[1], median_seconds(stream, theirs) / count);
  }
  std::printf("{\"step\": \"compare\", \"batch\": %d, \"length\": %d, \"channels\": %d, \"both_directions_us\": %.2f, "
              "\"baseline_us\": %.2f, \"speedup\": %.2f}\n",
              batch, length, channels, seconds[0] * 1e6, seconds[1] * 1e6, seconds[1] / seconds[0]);
  std::fflush(stdout);
}

}  // namespace

int main() {
  const bool good = agrees(2, 197, 48) && agrees(1, 730, 40) && agrees(1, 2100, 16);
  if (!good) return 1;
  cudaStream_t stream;
  CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (const int batch : {1, 8, 64})
    for (const int length : {197, 730, 1025, 6085})
      for (const int channels : {384, 768, 1536}) compare(batch, length, channels, stream);
  CUDA(cudaStreamDestroy(stream));
  return 0;
}
