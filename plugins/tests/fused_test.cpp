// The fused operators at every width and instruction set against scalar oracles in double precision. Buffers end
// where the tensors end, so that AddressSanitizer sees a step beyond them.
#include "fused_kernel.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <random>
#include <vector>

#include "scan_test.h"

namespace {

using vim_fused::ConvPair;
using vim_fused::Kernels;
using vim_fused::Norm;
using vim_fused::ScanPair;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

// Relative to the largest value. Sums of a few products, one exponential: worst seen 5e-7; the scan's is that of
// its own test.
constexpr double kTolerance = 2e-6;
constexpr double kScanTolerance = 3e-6;
constexpr float kUntouched = 123.25f;

template <int W>
struct Plain : vim_scan::Lanes<W, Plain<W>> {};

template <class M>
Kernels kernels_named(const char* name) {
  return vim_fused::kernels_of<M>(name);
}

std::vector<Kernels> kernels_here() {
  std::vector<Kernels> kernels = {kernels_named<Plain<4>>("4 lanes"), kernels_named<Plain<8>>("8 lanes"),
                                  kernels_named<Plain<16>>("16 lanes"), vim_fused::kPortable};
#if defined(VIM_SCAN_AVX2)
  const char* usable = vim_scan::usable_instruction_sets();
  if (std::strstr(usable, "avx2") != nullptr) kernels.push_back(vim_fused::kAvx2);
  if (std::strstr(usable, "avx512") != nullptr) kernels.push_back(vim_fused::kAvx512);
#endif
  return kernels;
}

std::mt19937 generator(1);

Floats random(std::int64_t size, float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  Floats values(static_cast<std::size_t>(size));
  for (float& value : values) value = normal(generator);
  return values;
}

int failures = 0;
int runs = 0;

void compare(const Kernels& kernels, const char* what, const Floats& found, const Doubles& expected, double tolerance) {
  ++runs;
  double difference = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double off = std::fabs(found[i] - expected[i]);
    if (!(off <= difference)) difference = off;  // a NaN stays
    largest = std::fmax(largest, std::fabs(expected[i]));
  }
  if (difference <= tolerance * largest) return;
  ++failures;
  std::printf("%s, %s: off by %g of %g\n", kernels.name, what, difference, largest);
}

// Runs all tasks at once and one by one, last first, which must give the same bits in `outputs`.
template <class Problem>
void run(const Kernels& kernels, const char* what, void (*kernel)(const Problem&, std::int64_t, std::int64_t),
         const Problem& problem, std::initializer_list<Floats*> outputs) {
  std::vector<Floats> once;
  const std::int64_t tasks = vim_fused::task_count(problem);
  for (Floats* output : outputs) output->assign(output->size(), kUntouched);
  for (std::int64_t task = tasks; task-- > 0;) kernel(problem, task, task + 1);
  for (Floats* output : outputs) {
    once.push_back(*output);
    output->assign(output->size(), kUntouched);
  }
  kernel(problem, 0, tasks);
  std::size_t i = 0;
  for (Floats* output : outputs) {
    if (std::memcmp(output->data(), once[i++].data(), output->size() * sizeof(float)) == 0) continue;
    ++failures;
    std::printf("%s, %s: other bits when the tasks run one by one\n", kernels.name, what);
  }
}

void check_norm(const std::vector<Kernels>& all, std::int64_t rows, std::int64_t size, bool add) {
  const Floats x = random(rows * size), residual = random(rows * size), weight = random(size);
  Floats y(x.size()), sum(x.size());
  const Norm norm = {rows, size, 1e-5f, x.data(), add ? residual.data() : nullptr, weight.data(), y.data(),
                     add ? sum.data() : nullptr};
  Doubles expected(x.size()), expected_sum(x.size());
  for (std::int64_t row = 0; row < rows; ++row) {
    double squares = 0.0;
    for (std::int64_t i = 0; i < size; ++i) {
      const auto at = static_cast<std::size_t>(row * size + i);
      expected_sum[at] = add ? x[at] + residual[at] : x[at];
      squares += expected_sum[at] * expected_sum[at];
    }
    for (std::int64_t i = 0; i < size; ++i) {
      const auto at = static_cast<std::size_t>(row * size + i);
      const double root = std::sqrt(squares / static_cast<double>(size) + 1e-5);
      expected[at] = expected_sum[at] / root * weight[static_cast<std::size_t>(i)];
    }
  }
  for (const Kernels& kernels : all) {
    run(kernels, "norm", kernels.norm, norm, {&y, &sum});
    compare(kernels, "norm", y, expected, kTolerance);
    if (add) compare(kernels, "norm's sum", sum, expected_sum, kTolerance);
  }
}

double silu(double x) { return x / (1.0 + std::exp(-x)); }

void check_conv(const std::vector<Kernels>& all, std::int64_t batch, std::int64_t length, std::int64_t channels,
                std::int64_t width) {
  const std::int64_t pitch = 2 * channels;
  Floats xz = random(batch * length * pitch);
  xz.resize(xz.size() - static_cast<std::size_t>(channels));  // the last row's z is not to be read
  const Floats taps[2] = {random(width * channels), random(width * channels)};
  const Floats bias[2] = {random(channels), random(channels)};
  Floats u[2] = {Floats(static_cast<std::size_t>(batch * length * channels)), {}};
  u[1] = u[0];
  const ConvPair conv = {batch, length, channels, width, xz.data(), pitch,
                         {{taps[0].data(), bias[0].data(), u[0].data()},
                          {taps[1].data(), bias[1].data(), u[1].data()}}};
  Doubles expected[2] = {Doubles(u[0].size()), Doubles(u[0].size())};
  for (int index = 0; index < 2; ++index)
    for (std::int64_t row = 0; row < batch * length; ++row)
      for (std::int64_t channel = 0; channel < channels; ++channel) {
        const std::int64_t token = row % length;
        double sum = bias[index][static_cast<std::size_t>(channel)];
        for (std::int64_t tap = 0; tap < width; ++tap) {
          const std::int64_t shift = index == 0 ? tap - (width - 1) : tap;
          if (token + shift < 0 || token + shift >= length) continue;
          sum += double{xz[static_cast<std::size_t>((row + shift) * pitch + channel)]} *
                 taps[index][static_cast<std::size_t>(tap * channels + channel)];
        }
        expected[index][static_cast<std::size_t>(row * channels + channel)] = silu(sum);
      }
  for (const Kernels& kernels : all) {
    run(kernels, "convolution", kernels.conv, conv, {&u[0], &u[1]});
    compare(kernels, "convolution forwards", u[0], expected[0], kTolerance);
    compare(kernels, "convolution backwards", u[1], expected[1], kTolerance);
  }
}

// One direction's inputs, and its part of the sum by the scan's own oracle.
struct Direction {
  Floats u, projection, weight, A, D, bias;

  Direction(std::int64_t rows, std::int64_t channels, std::int64_t state, std::int64_t rank)
      : u(random(rows * channels)), projection(random(rows * (rank + 2 * state))),
        weight(random(rank * channels, 0.5f)), A(random(state * channels)), D(random(channels)),
        bias(random(channels)) {
    for (float& value : A) value = -std::exp(value);
  }

  Doubles oracle(const ScanPair& scan, int index, const Floats& xz) const {
    const std::int64_t rows = scan.batch * scan.length;
    const std::int64_t pitch = scan.rank + 2 * scan.state;
    Floats delta(u.size()), by_channel(A.size());
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t channel = 0; channel < scan.channels; ++channel) {
        double sum = 0.0;
        for (std::int64_t k = 0; k < scan.rank; ++k)
          sum += double{projection[static_cast<std::size_t>(row * pitch + k)]} *
                 weight[static_cast<std::size_t>(k * scan.channels + channel)];
        delta[static_cast<std::size_t>(row * scan.channels + channel)] = static_cast<float>(sum);
      }
    for (std::int64_t channel = 0; channel < scan.channels; ++channel)
      for (std::int64_t n = 0; n < scan.state; ++n)
        by_channel[static_cast<std::size_t>(channel * scan.state + n)] =
            A[static_cast<std::size_t>(n * scan.channels + channel)];
    vim_scan::Arguments arguments = {scan.batch, scan.length, scan.channels, scan.state, scan.delta_softplus, index,
                                     u.data(), delta.data(), by_channel.data(), projection.data() + scan.rank,
                                     projection.data() + scan.rank + scan.state, D.data(), xz.data() + scan.channels,
                                     bias.data(), nullptr, scan.channels, scan.channels, pitch, pitch, scan.z_pitch,
                                     scan.channels};
    return vim_test::oracle(arguments);
  }
};

void check_scan(const std::vector<Kernels>& all, std::int64_t batch, std::int64_t length, std::int64_t channels,
                std::int64_t state, std::int64_t rank, bool halve = true) {
  const std::int64_t rows = batch * length;
  const Floats xz = random(rows * 2 * channels);
  const Direction ahead(rows, channels, state, rank), back(rows, channels, state, rank);
  Floats y(static_cast<std::size_t>(rows * channels));
  const auto pointers = [](const Direction& d) {
    return ScanPair::Direction{d.u.data(), d.projection.data(), d.weight.data(), d.A.data(), d.D.data(), d.bias.data()};
  };
  const ScanPair scan = {batch, length, channels, state, rank, true, halve ? 0.5f : 1.0f, xz.data() + channels,
                         2 * channels, y.data(), {pointers(ahead), pointers(back)}};
  Doubles expected = ahead.oracle(scan, 0, xz);
  const Doubles other = back.oracle(scan, 1, xz);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = (expected[i] + other[i]) * (halve ? 0.5 : 1.0);
  for (const Kernels& kernels : all) {
    run(kernels, "scan", kernels.scan, scan, {&y});
    compare(kernels, "scan", y, expected, kScanTolerance);
  }
}

}  // namespace

int main() {
  const std::vector<Kernels> all = kernels_here();
  for (std::int64_t size : {1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 192})
    for (std::int64_t rows : {1, 31, 32, 33, 65})
      for (bool add : {false, true}) check_norm(all, rows, size, add);
  for (std::int64_t length : {1, 2, 3, 4, 5, 15, 16, 17, 40})
    for (std::int64_t channels : {1, 5, 8, 16, 19, 33})
      for (std::int64_t width : {2, 3, 4, 5}) check_conv(all, 2, length, channels, width);
  for (std::int64_t length : {1, 3, 4, 31, 32, 33, 65})
    for (std::int64_t channels : {1, 5, 16, 31, 32, 33, 65}) check_scan(all, 2, length, channels, 16, 3);
  for (std::int64_t state : {1, 2, 3, 7, 8, 15, 17, 31, 33}) check_scan(all, 1, 37, 19, state, 5, state % 2 == 0);
  for (std::int64_t rank : {1, 2, 4, 12, 13, 40}) check_scan(all, 1, 37, 40, 16, rank);
  std::printf("%d comparisons, %d failures\n", runs, failures);
  return failures == 0 ? 0 : 1;
}
