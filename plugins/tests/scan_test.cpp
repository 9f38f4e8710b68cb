// Compares the kernel at every width and instruction set with a scalar oracle, for shapes on both sides of every
// boundary. Buffers end with the tensors, so that AddressSanitizer detects accesses beyond them.
#include "scan_test.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>

#include "scan_tasks.h"

namespace {

using vim_scan::Arguments;
using vim_test::Kernel;

// Relative to the largest value; the largest error measured is 1.3e-6.
constexpr double kTolerance = 3e-6;
constexpr float kUntouched = 123.25f;

struct Config {
  std::int64_t batch, length, channels, state;
  bool reverse = false, softplus = true, skip = true, gate = true, bias = true;
  int padding = 0;  // floats between the rows of each tensor
  std::int32_t groups = 1;
};

std::vector<float> random(std::mt19937& generator, std::int64_t rows, std::int64_t pitch, std::int64_t size) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>((rows - 1) * pitch + size));
  for (float& value : values) value = normal(generator);
  return values;
}

// The tensors of a configuration, and the arguments that point to them.
struct Problem {
  std::vector<float> u, delta, A, B, C, D, z, bias, y;
  Arguments arguments = {};

  explicit Problem(const Config& config) {
    std::mt19937 generator(static_cast<unsigned>(config.length * 1000 + config.channels * 10 + config.state));
    const std::int64_t rows = config.batch * config.length;
    const std::int64_t wide = config.channels + config.padding, projected = config.groups * config.state;
    const std::int64_t per_state = projected + config.padding;
    u = random(generator, rows, wide, config.channels);
    delta = random(generator, rows, wide, config.channels);
    z = random(generator, rows, wide, config.channels);
    B = random(generator, rows, per_state, projected);
    C = random(generator, rows, per_state, projected);
    A = random(generator, config.channels, config.state, config.state);
    for (float& value : A) value = -std::exp(value);
    if (!config.softplus)
      for (float& value : delta) value = std::fabs(value);
    D = random(generator, 1, config.channels, config.channels);
    bias = random(generator, 1, config.channels, config.channels);
    if (!config.softplus)
      for (float& value : bias) value = std::fabs(value);
    y.assign(u.size(), kUntouched);
    arguments = {config.batch, config.length, config.channels, config.state, config.softplus, config.reverse,
                 config.groups, u.data(), delta.data(), A.data(), B.data(), C.data(), config.skip ? D.data() : nullptr,
                 config.gate ? z.data() : nullptr, config.bias ? bias.data() : nullptr, y.data(), wide, wide, per_state,
                 per_state, wide, wide};
  }
};

// The largest difference from the oracle, relative to the largest value; infinity if padding was written.
double error(const Problem& problem, const std::vector<double>& expected) {
  const Arguments& a = problem.arguments;
  double difference = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < problem.y.size(); ++i) {
    const std::int64_t row = static_cast<std::int64_t>(i) / a.y_pitch;
    const std::int64_t channel = static_cast<std::int64_t>(i) % a.y_pitch;
    if (channel >= a.channels) {
      if (problem.y[i] != kUntouched) return INFINITY;
      continue;
    }
    const double wanted = expected[static_cast<std::size_t>(row * a.channels + channel)];
    const double off = std::fabs(problem.y[i] - wanted);
    if (!(off <= difference)) difference = off;  // also if it is NaN
    largest = std::fmax(largest, std::fabs(wanted));
  }
  return difference / largest;
}

int failures = 0;
int runs = 0;
double worst = 0.0;

void fail(const Kernel& kernel, const Config& config, const char* what, double value) {
  ++failures;
  std::printf("%s: batch %d length %d channels %d state %d reverse %d softplus %d skip %d gate %d bias %d padding %d groups %d: "
              "%s %g\n",
              kernel.name, int(config.batch), int(config.length), int(config.channels), int(config.state),
              config.reverse, config.softplus, config.skip, config.gate, config.bias, config.padding, int(config.groups), what, value);
}

void check(const std::vector<Kernel>& kernels, const Config& config) {
  Problem problem(config);
  const std::vector<double> expected = vim_test::oracle(problem.arguments);
  const std::int64_t tasks = vim_scan::task_count(problem.arguments);
  for (const Kernel& kernel : kernels) {
    ++runs;
    std::fill(problem.y.begin(), problem.y.end(), kUntouched);
    kernel.run_tasks(problem.arguments, 0, tasks);
    const double off = error(problem, expected);
    if (!(off <= kTolerance)) fail(kernel, config, "relative error", off);
    worst = std::fmax(worst, off);

    const std::vector<float> once = problem.y;
    std::fill(problem.y.begin(), problem.y.end(), kUntouched);
    for (std::int64_t task = tasks; task-- > 0;) kernel.run_tasks(problem.arguments, task, task + 1);
    if (std::memcmp(once.data(), problem.y.data(), once.size() * sizeof(float)) != 0)
      fail(kernel, config, "different bits if the tasks run one by one in reverse order; tasks:", double(tasks));
  }
}

std::vector<Kernel> kernels_here() {
  std::vector<Kernel> kernels = vim_test::widths();
  const char* usable = vim_scan::usable_instruction_sets();
  std::printf("instruction sets: %s\n", usable);
  kernels.push_back({"portable", vim_scan::run_tasks_portable});
#if defined(VIM_TEST_AVX2)
  if (std::strstr(usable, "avx2") != nullptr) {
    kernels.push_back({"avx2", vim_scan::run_tasks_avx2});
    for (const Kernel& kernel : vim_test::widths_avx2()) kernels.push_back(kernel);
  }
  if (std::strstr(usable, "avx512") != nullptr) kernels.push_back({"avx512", vim_scan::run_tasks_avx512});
#endif
#if defined(VIM_SCAN_NEON)
  kernels.push_back({"neon", vim_scan::run_tasks_neon});
#endif
  return kernels;
}

}  // namespace

int main() {
  const std::vector<Kernel> kernels = kernels_here();
  for (std::int64_t length : {1, 2, 3, 31, 32, 33, 64, 65, 100})
    for (std::int64_t channels : {1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 63, 65})
      check(kernels, {1, length, channels, 16, length % 2 == 0});
  for (std::int64_t state = 1; state <= 33; ++state) check(kernels, {2, 37, 19, state, state % 2 == 0});
  for (std::int64_t state : {47, 64, 100, 256}) check(kernels, {1, 40, 5, state});
  for (int flags = 0; flags < 32; ++flags) {
    Config config = {2, 35, 37, 20};
    config.reverse = flags & 1;
    config.softplus = flags & 2;
    config.skip = flags & 4;
    config.gate = flags & 8;
    config.bias = flags & 16;
    for (int padding : {0, 3}) {
      config.padding = padding;
      check(kernels, config);
    }
  }
  for (std::int32_t groups : {2, 3, 4, 6, 12})
    for (std::int64_t per_group : {1, 5, 16, 37})
      for (std::int64_t state : {1, 8, 16, 20}) {
        Config config = {2, 35, groups * per_group, state};
        config.reverse = groups % 2 == 0;
        config.gate = per_group % 2 == 0;
        config.padding = groups % 3;
        config.groups = groups;
        check(kernels, config);
      }
  check(kernels, {1, 2000, 33, 16});
  std::printf("%d runs, %d failures, largest relative error %.2g\n", runs, failures, worst);
  return failures == 0 ? 0 : 1;
}
