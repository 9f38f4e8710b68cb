// Compares the fused operators at every width and instruction set with scalar oracles in double precision. Buffers end
// with the tensors, so that AddressSanitizer detects accesses beyond them.
#include "all_kernels.h"

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
using vim_fused::WeightType;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

// Relative to the largest value. Except for the scan, which has the tolerance of its own test, a result is the sum of a
// few products, with at most one exponential; the largest error measured is 5e-7.
constexpr double kTolerance = 2e-6;
constexpr double kScanTolerance = 3e-6;
// With less accurate functions: quotients of AVX-512 have a relative error of 6.1e-5, and the scan's decays one of up to
// 1.4e-5, which adds up over the tokens that a state remembers. The largest errors measured are 3.8e-5 and 4.0e-5.
constexpr double kReducedTolerance = 8e-5;
constexpr double kReducedScanTolerance = 8e-5;
// A normalized value may be rounded to another bfloat16 value than in the oracle.
constexpr double kFlipTolerance = 2e-3;
constexpr float kUntouched = 123.25f;

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
    if (!(off <= difference)) difference = off;  // also if it is NaN
    largest = std::fmax(largest, std::fabs(expected[i]));
  }
  if (difference <= tolerance * largest) return;
  ++failures;
  std::printf("%s, %s: off by %g of %g\n", kernels.name, what, difference, largest);
}

// Runs all tasks in one call, and one by one in reverse order; `outputs` must have the same bits.
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
    if (*output == once[i++]) continue;  // no NaN is expected
    ++failures;
    std::printf("%s, %s: different bits if the tasks run one by one\n", kernels.name, what);
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
  xz.resize(xz.size() - static_cast<std::size_t>(channels));  // the last row's z must not be read
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
    compare(kernels, "forward convolution", u[0], expected[0], kTolerance);
    compare(kernels, "backward convolution", u[1], expected[1], kTolerance);
  }
}

std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// To the nearest value with 8 significant bits, computed independently of the kernels.
float to_bfloat16(double x) {
  int exponent;
  const double fraction = std::frexp(x, &exponent);
  return static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8));
}

// Puts a bfloat16 value into the half of `place` for index k.
void add_to_pair(float& place, std::int64_t k, float value) {
  const std::uint32_t pair = bits_of(place) | (k % 2 == 0 ? bits_of(value) >> 16 : bits_of(value));
  std::memcpy(&place, &pair, sizeof place);
}

// The weights of a matmul, plain and packed.
struct MatmulWeights {
  std::int64_t depth, columns;
  WeightType type;
  Floats values, packed;

  MatmulWeights(std::int64_t rows, std::int64_t count, WeightType weight_type)
      : depth(rows), columns(count), type(weight_type), values(random(rows * count)) {
    const bool half = type == WeightType::kBFloat16;
    if (half)
      for (float& value : values) value = to_bfloat16(value);
    const vim_test::PackedLayout layout = {half ? (depth + 1) / 2 : depth, columns};
    packed.assign(layout.size(), 0.0f);
    const auto size = static_cast<std::size_t>(vim_fused::packed_size(type, depth, columns));
    if (size != (half ? 2 : 1) * packed.size()) ++failures;
    for (std::int64_t k = 0; k < depth; ++k)
      for (std::int64_t c = 0; c < columns; ++c) {
        const float value = values[static_cast<std::size_t>(k * columns + c)];
        float& place = packed[layout.at(half ? k / 2 : k, c)];
        if (half)
          add_to_pair(place, k, value);
        else
          place = value;
      }
  }

  vim_fused::Weights weights() const { return {depth, columns, type, packed.data()}; }

  // x @ weights, plus `add` if it is not null.
  template <class T>
  Doubles matmul(const T& x, const Floats* add = nullptr) const {
    Doubles y(x.size() / static_cast<std::size_t>(depth) * static_cast<std::size_t>(columns));
    for (std::size_t i = 0; i < y.size(); ++i) {
      const std::size_t row = i / static_cast<std::size_t>(columns), column = i % static_cast<std::size_t>(columns);
      double sum = add != nullptr ? (*add)[i] : 0.0;
      for (std::size_t k = 0; k < static_cast<std::size_t>(depth); ++k) {
        double input = x[row * static_cast<std::size_t>(depth) + k];
        if (type == WeightType::kBFloat16) input = to_bfloat16(input);
        sum += input * values[k * static_cast<std::size_t>(columns) + column];
      }
      y[i] = sum;
    }
    return y;
  }
};

void check_project(const std::vector<Kernels>& all, std::int64_t rows, std::int64_t depth, std::int64_t columns,
                   WeightType type) {
  const Floats x = random(rows * depth);
  const MatmulWeights weights(depth, columns, type);
  Floats y(static_cast<std::size_t>(rows * columns));
  const vim_fused::Project problem = {rows, x.data(), weights.weights(), y.data()};
  const Doubles expected = weights.matmul(x);
  for (const Kernels& kernels : all) {
    run(kernels, "matmul", kernels.project, problem, {&y});
    compare(kernels, "matmul", y, expected, kTolerance);
  }
}

// The rows of patches must have the bits of rows that are given.
void check_patches(const std::vector<Kernels>& all, const vim_fused::Patches& patches, WeightType type) {
  const std::int64_t batch = 2, across = patches.width / patches.patch_width;
  const std::int64_t length = patches.height / patches.patch_height * across, rows = batch * length;
  const std::int64_t depth = patches.channels * patches.patch_height * patches.patch_width, columns = 20;
  const Floats images = random(batch * patches.channels * patches.height * patches.width);
  Floats x;
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t channel = 0; channel < patches.channels; ++channel)
      for (std::int64_t line = 0; line < patches.patch_height; ++line)
        for (std::int64_t column = 0; column < patches.patch_width; ++column) {
          const std::int64_t token = row % length, plane = row / length * patches.channels + channel;
          const std::int64_t y = token / across * patches.patch_height + line;
          x.push_back(images[static_cast<std::size_t>((plane * patches.height + y) * patches.width +
                                                      token % across * patches.patch_width + column)]);
        }
  const MatmulWeights weights(depth, columns, type);
  Floats expected(static_cast<std::size_t>(rows * columns)), y(expected.size());
  for (const Kernels& kernels : all) {
    run(kernels, "matmul", kernels.project, {rows, x.data(), weights.weights(), expected.data()}, {&expected});
    run(kernels, "matmul of patches", kernels.project, {rows, images.data(), weights.weights(), y.data(), &patches}, {&y});
    compare(kernels, "matmul of patches", y, Doubles(expected.begin(), expected.end()), 0.0);
  }
}

void check_norm_project(const std::vector<Kernels>& all, std::int64_t rows, std::int64_t size, std::int64_t columns,
                        std::int64_t depth, WeightType type) {
  const Floats x = random(rows * (depth > 0 ? depth : size)), residual = random(rows * size), weight = random(size);
  const MatmulWeights before(depth > 0 ? depth : 1, size, type), after(size, columns, type);
  Floats y(static_cast<std::size_t>(rows * columns)), sum(depth > 0 ? residual.size() : 0);
  vim_fused::NormProject problem = {rows, size, 1e-5f, x.data(), {}, nullptr, weight.data(), after.weights(), nullptr,
                                    y.data()};
  Doubles expected_sum(x.begin(), x.end());
  if (depth > 0) {
    problem.before = before.weights();
    problem.residual = residual.data();
    problem.sum = sum.data();
    expected_sum = before.matmul(x, &residual);
  }
  Doubles normalized = expected_sum;
  for (std::int64_t row = 0; row < rows; ++row) {
    double squares = 0.0;
    const auto first = static_cast<std::size_t>(row * size), count = static_cast<std::size_t>(size);
    for (std::size_t i = 0; i < count; ++i) squares += normalized[first + i] * normalized[first + i];
    const double root = std::sqrt(squares / static_cast<double>(size) + 1e-5);
    for (std::size_t i = 0; i < count; ++i) normalized[first + i] *= weight[i] / root;
  }
  const Doubles expected = after.matmul(normalized);
  for (const Kernels& kernels : all) {
    run(kernels, "norm and matmul", kernels.norm_project, problem, {&y, &sum});
    if (depth > 0) compare(kernels, "matmul before a norm", sum, expected_sum, kTolerance);
    compare(kernels, "norm and matmul", y, expected, type == WeightType::kBFloat16 ? kFlipTolerance : kTolerance);
  }
}

void check_conv_project(const std::vector<Kernels>& all, std::int64_t length, std::int64_t channels,
                        std::int64_t columns, WeightType type) {
  const std::int64_t batch = 2, width = 4, pitch = 2 * channels;
  const Floats xz = random(batch * length * pitch), taps = random(width * channels), bias = random(channels);
  const MatmulWeights weights[2] = {{channels, columns, type}, {channels, columns, type}};
  const Floats room(static_cast<std::size_t>(batch * length * channels));
  Floats u[2] = {room, room}, separate[2] = {room, room}, projection[2];
  vim_fused::ConvProject problem = {{batch, length, channels, width, xz.data(), pitch, {}}, {}};
  ConvPair conv = problem.conv;
  for (int i = 0; i < 2; ++i) {
    projection[i].resize(static_cast<std::size_t>(batch * length * columns));
    conv.directions[i] = {taps.data(), bias.data(), separate[i].data()};
    problem.conv.directions[i] = {taps.data(), bias.data(), u[i].data()};
    problem.directions[i] = {weights[i].weights(), projection[i].data()};
  }
  for (const Kernels& kernels : all) {
    run(kernels, "convolution", kernels.conv, conv, {&separate[0], &separate[1]});
    run(kernels, "convolution and matmul", kernels.conv_project, problem,
        {&u[0], &u[1], &projection[0], &projection[1]});
    for (int i = 0; i < 2; ++i) {
      compare(kernels, "convolution before a matmul", u[i], Doubles(separate[i].begin(), separate[i].end()),
              type == WeightType::kFloat32 ? 0.0 : kReducedTolerance);
      compare(kernels, "matmul of a convolution", projection[i], weights[i].matmul(u[i]), kTolerance);
    }
  }
}

// One direction's inputs, and its part of the sum, from the scan's oracle.
struct Direction {
  Floats u, projection, weight, packed_weight, A, D, bias;

  Direction(std::int64_t rows, std::int64_t channels, std::int64_t state, std::int64_t rank)
      : u(random(rows * channels)), projection(random(rows * (rank + 2 * state))),
        weight(random(rank * channels, 0.5f)), A(random(state * channels)), D(random(channels)),
        bias(random(channels)) {
    for (float& value : A) value = -std::exp(value);
    for (float& value : weight) value = to_bfloat16(value);
    packed_weight.assign(static_cast<std::size_t>((rank + 1) / 2 * channels), 0.0f);
    for (std::int64_t k = 0; k < rank; ++k)
      for (std::int64_t channel = 0; channel < channels; ++channel)
        add_to_pair(packed_weight[static_cast<std::size_t>(k / 2 * channels + channel)], k,
                    weight[static_cast<std::size_t>(k * channels + channel)]);
  }

  // With `reduced`, the inputs of the time steps are rounded to bfloat16.
  Doubles oracle(const ScanPair& scan, int index, const Floats& xz) const {
    const std::int64_t rows = scan.batch * scan.length;
    const std::int64_t pitch = scan.rank + 2 * scan.state;
    Floats delta(u.size()), by_channel(A.size());
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t channel = 0; channel < scan.channels; ++channel) {
        double sum = 0.0;
        for (std::int64_t k = 0; k < scan.rank; ++k) {
          const float input = projection[static_cast<std::size_t>(row * pitch + k)];
          sum += double{scan.reduced ? to_bfloat16(input) : input} *
                 weight[static_cast<std::size_t>(k * scan.channels + channel)];
        }
        delta[static_cast<std::size_t>(row * scan.channels + channel)] = static_cast<float>(sum);
      }
    for (std::int64_t channel = 0; channel < scan.channels; ++channel)
      for (std::int64_t n = 0; n < scan.state; ++n)
        by_channel[static_cast<std::size_t>(channel * scan.state + n)] =
            A[static_cast<std::size_t>(n * scan.channels + channel)];
    vim_scan::Arguments arguments = {scan.batch, scan.length, scan.channels, scan.state, scan.delta_softplus, index,
                                     1, u.data(), delta.data(), by_channel.data(), projection.data() + scan.rank,
                                     projection.data() + scan.rank + scan.state, D.data(), xz.data() + scan.channels,
                                     bias.data(), nullptr, scan.channels, scan.channels, pitch, pitch, scan.z_pitch,
                                     scan.channels};
    return vim_test::oracle(arguments);
  }
};

void check_scan(const std::vector<Kernels>& all, std::int64_t batch, std::int64_t length, std::int64_t channels,
                std::int64_t state, std::int64_t rank, bool average = true) {
  const std::int64_t rows = batch * length;
  const Floats xz = random(rows * 2 * channels);
  const Direction ahead(rows, channels, state, rank), back(rows, channels, state, rank);
  Floats y(static_cast<std::size_t>(rows * channels));
  const auto problem = [&](bool reduced) {
    const auto pointers = [&](const Direction& d) {
      return ScanPair::Direction{d.u.data(), d.projection.data(), reduced ? d.packed_weight.data() : d.weight.data(),
                                 d.A.data(), d.D.data(), d.bias.data()};
    };
    return ScanPair{batch, length, channels, state, rank, true, reduced, average ? 0.5f : 1.0f, xz.data() + channels,
                    2 * channels, y.data(), {pointers(ahead), pointers(back)}};
  };
  for (bool reduced : {false, true}) {
    if (reduced && rank > vim_fused::kMaxReducedRank) continue;
    const ScanPair scan = problem(reduced);
    Doubles expected = ahead.oracle(scan, 0, xz);
    const Doubles other = back.oracle(scan, 1, xz);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = (expected[i] + other[i]) * (average ? 0.5 : 1.0);
    const char* what = reduced ? "reduced scan" : "scan";
    for (const Kernels& kernels : all) {
      run(kernels, what, kernels.scan, scan, {&y});
      compare(kernels, what, y, expected, reduced ? kReducedScanTolerance : kScanTolerance);
    }
  }
}

}  // namespace

int main() {
  const std::vector<Kernels> all = vim_test::kernels_here();
  for (std::int64_t size : {1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 192})
    for (std::int64_t rows : {1, 31, 32, 33, 65})
      for (bool add : {false, true}) check_norm(all, rows, size, add);
  for (std::int64_t length : {1, 2, 3, 4, 5, 15, 16, 17, 40})
    for (std::int64_t channels : {1, 5, 8, 16, 19, 33})
      for (std::int64_t width : {2, 3, 4, 5}) check_conv(all, 2, length, channels, width);
  for (WeightType type : {WeightType::kFloat32, WeightType::kBFloat16}) {
    for (std::int64_t rows : {1, 7, 8, 9, 33, 130})
      for (std::int64_t depth : {0, 1, 6, 65}) check_norm_project(all, rows, 33, 50, depth, type);
    for (std::int64_t size : {1, 2, 15, 16, 48, 97})
      for (std::int64_t columns : {1, 11, 16, 24, 47, 48, 49, 96, 100})
        check_norm_project(all, 11, size, columns, 31, type);
    for (std::int64_t rows : {1, 9, 70})
      for (std::int64_t columns : {1, 48, 100}) check_project(all, rows, 65, columns, type);
    check_project(all, 20, vim_fused::kMaxDepth, 50, type);
    check_patches(all, {1, 1, 1, 1, 1}, type);
    check_patches(all, {3, 32, 48, 16, 16}, type);
    check_patches(all, {2, 10, 63, 5, 21}, type);
    check_patches(all, {3, 64, 32, 32, 32}, type);  // of the maximum depth
    check_norm_project(all, 10, vim_fused::kMaxDepth, 3, 5, type);
    check_norm_project(all, 10, 5, 3, vim_fused::kMaxDepth, type);
    for (std::int64_t length : {1, 3, 8, 33, 70})
      for (std::int64_t channels : {1, 5, 16, 19, 33, 64}) check_conv_project(all, length, channels, 44, type);
  }
  for (std::int64_t length : {1, 3, 4, 31, 32, 33, 65})
    for (std::int64_t channels : {1, 5, 16, 31, 32, 33, 65}) check_scan(all, 2, length, channels, 16, 3);
  check_scan(all, 1, 1025, 97, 16, 3);  // long: wider tasks
  for (std::int64_t state : {1, 2, 3, 7, 8, 15, 17, 31, 33}) check_scan(all, 1, 37, 19, state, 5, state % 2 == 0);
  for (std::int64_t rank : {1, 2, 4, 12, 13, 40, 64, 65}) check_scan(all, 1, 37, 40, 16, rank);
  for (WeightType type : {WeightType::kFloat32, WeightType::kBFloat16})
    for (std::int64_t columns = 1; columns <= 100; ++columns) check_project(all, 9, 31, columns, type);
  std::printf("%d comparisons, %d failures\n", runs, failures);
  return failures == 0 ? 0 : 1;
}
