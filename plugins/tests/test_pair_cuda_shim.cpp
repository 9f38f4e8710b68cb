// Runs the source of the fused kernels for GPUs on the CPU and compares them with float64, for every type and variant.
#include "cuda_shim.h"
#include "conv_cuda_kernel.cuh"
#include "pair_cuda_kernel.cuh"

#include <algorithm>

#include "cuda_buffer.h"
#include "pair_problem.h"

namespace {

using cuda_test::Buffer;
using cuda_test::draw;
using cuda_test::fill;
using cuda_test::Values;
using vim_fused::Type;

int failures = 0;
double worst[3] = {0, 0, 0};

// float32: a few roundings. float16 and bfloat16: the same, plus half a unit in the last place of the stored result.
constexpr double kTolerance[3] = {3e-6, 1.0 / 2048 + 3e-6, 1.0 / 256 + 3e-6};

struct Case {
  int variant, batch, length, channels, state, rank, parts;
  bool delta_softplus, average, unaligned;

  cuda_test::PairSizes sizes() const { return {batch, length, channels, state, rank, delta_softplus}; }
};

template <bool kOutput, class Element, int kVariant>
void launch(const vim_fused::PairKernelArguments& arguments, std::int64_t blocks, cuda_shim::Order order) {
  using S = vim_fused::PairShape<kVariant>;
  Buffer memory(2 * vim_fused::PairMemory<S>::bytes(arguments.rank));
  const auto prepare = [&] { std::memset(memory.as<char>(), 0xff, memory.size()); };
  cuda_shim::run(static_cast<unsigned>(blocks), vim_scan::kCudaThreads, order, prepare,
                 [&] { vim_fused::pair_block<kOutput, Element, S>(arguments, memory.as<char>()); });
}

template <class Element, int kVariant>
void launch_both(const vim_fused::PairKernelArguments& arguments, const vim_scan::CudaPlan& plan,
                 cuda_shim::Order order) {
  if (plan.chunks > 1) launch<false, Element, kVariant>(arguments, plan.blocks, order);
  launch<true, Element, kVariant>(arguments, plan.blocks, order);
}

// One direction in memory.
template <class Element>
struct DirectionBuffers {
  Buffer u, projection, delta_weight, A, D, delta_bias;

  DirectionBuffers(cuda_test::PairDirection& d, std::size_t shift)
      : u(d.scan.u.size() * sizeof(typename Element::Bits), shift),
        projection(d.projection.size() * sizeof(typename Element::Bits), shift),
        delta_weight(d.delta_weight.size() * 4), A(d.A_by_state.size() * 4), D(d.scan.D.size() * 4),
        delta_bias(d.scan.delta_bias.size() * 4) {
    fill<Element>(u, d.scan.u), fill<Element>(projection, d.projection);
    fill<vim_scan::Float32>(delta_weight, d.delta_weight), fill<vim_scan::Float32>(A, d.A_by_state);
    fill<vim_scan::Float32>(D, d.scan.D), fill<vim_scan::Float32>(delta_bias, d.scan.delta_bias);
  }
  vim_fused::CudaScanPair::Direction arguments() {
    return {u.as<void>(), projection.as<void>(), delta_weight.as<float>(), A.as<float>(), D.as<float>(),
            delta_bias.as<float>()};
  }
};

template <class Element>
double difference(Buffer& found, const std::vector<double>& expected) {
  double error = 0, scale = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double got = Element::to_float(found.as<typename Element::Bits>()[i]);
    if (std::isnan(got)) return INFINITY;
    error = std::max(error, std::fabs(got - expected[i]));
    scale = std::max(scale, std::fabs(expected[i]));
  }
  return error / scale;
}

// The largest difference from float64, relative to the largest value; infinity if there is a NaN.
template <class Element>
double run_pair(const Case& c, Type type, cuda_shim::Order order) {
  using Bits = typename Element::Bits;
  const std::size_t shift = c.unaligned ? sizeof(Bits) : 0;
  cuda_test::PairDirection forward = cuda_test::make_direction(c.sizes(), false, 7);
  cuda_test::PairDirection backward = cuda_test::make_direction(c.sizes(), true, 17);
  std::mt19937 random(3);
  const std::int64_t tokens = std::int64_t{c.batch} * c.length;
  Values xz = draw(random, tokens * 2 * c.channels, -3, 3);
  Buffer xz_memory(xz.size() * sizeof(Bits), shift), y(forward.scan.u.size() * sizeof(Bits), shift);
  fill<Element>(xz_memory, xz);
  DirectionBuffers<Element> first(forward, shift), second(backward, shift);
  cuda_test::project(forward, c.sizes(), xz);
  cuda_test::project(backward, c.sizes(), xz);
  const vim_scan::CudaPlan plan = vim_fused::lay_out_pair(c.variant, c.batch, c.length, c.channels, c.parts);
  Buffer workspace(static_cast<std::size_t>(tokens * c.channels + 4) * 4 + 2 * plan.workspace_bytes + 32);
  const vim_fused::CudaScanPair scan{c.batch, c.length, c.channels, c.state, c.rank, type, c.delta_softplus,
                                     c.average ? 0.5f : 1.0f, xz_memory.as<void>(),
                                     {first.arguments(), second.arguments()}, y.as<void>(), workspace.as<void>()};
  const vim_fused::PairKernelArguments arguments = vim_fused::pair_arguments(scan, plan);
  if (c.variant == 0) {
    launch_both<Element, 0>(arguments, plan, order);
  } else {
    launch_both<Element, 1>(arguments, plan, order);
  }
  const std::vector<double> expected = cuda_test::solve_pair(forward, backward, c.average ? 0.5 : 1.0);
  return difference<Element>(y, expected);
}

template <class Element>
void run_conv_block(const vim_fused::ConvKernelArguments& arguments, cuda_shim::Order order, bool any) {
  cuda_shim::run(static_cast<unsigned>(vim_fused::conv_blocks(arguments)), vim_fused::kConvThreads, order, [] {}, [&] {
    if (any) {
      vim_fused::conv_thread_any<Element>(arguments);
    } else {
      vim_fused::conv_thread<Element, 4>(arguments);
    }
  });
}

// `any`: with the kernel for every width.
template <class Element>
double run_conv(int batch, int length, int channels, int width, bool unaligned, bool any, Type type,
                cuda_shim::Order order) {
  using Bits = typename Element::Bits;
  const std::size_t shift = unaligned ? sizeof(Bits) : 0;
  std::mt19937 random(5);
  const std::int64_t tokens = std::int64_t{batch} * length;
  Values xz = draw(random, tokens * 2 * channels, -2, 2);
  Buffer memory(xz.size() * sizeof(Bits), shift);
  fill<Element>(memory, xz);
  Values taps[2], bias[2];
  vim_fused::CudaConvPair conv{batch, length, channels, width, type, memory.as<void>(), {}};
  std::vector<std::unique_ptr<Buffer>> keep, outputs;
  for (int d = 0; d < 2; ++d) {
    taps[d] = draw(random, std::int64_t{width} * channels, -1, 1);
    bias[d] = draw(random, channels, -1, 1);
    keep.push_back(std::make_unique<Buffer>(taps[d].size() * 4));
    fill<vim_scan::Float32>(*keep.back(), taps[d]);
    const float* taps_at = keep.back()->template as<float>();
    keep.push_back(std::make_unique<Buffer>(bias[d].size() * 4));
    fill<vim_scan::Float32>(*keep.back(), bias[d]);
    outputs.push_back(std::make_unique<Buffer>(static_cast<std::size_t>(tokens * channels) * sizeof(Bits), shift));
    conv.directions[d] = {taps_at, keep.back()->template as<float>(), outputs[d]->template as<void>()};
  }
  run_conv_block<Element>(vim_fused::conv_arguments(conv), order, any);
  double error = 0;
  for (int d = 0; d < 2; ++d) {
    std::vector<double> expected;
    for (int b = 0; b < batch; ++b)
      for (int t = 0; t < length; ++t)
        for (int i = 0; i < channels; ++i) {
          double sum = bias[d][i];
          for (int k = 0; k < width; ++k) {
            const int token = t + k - (d == 0 ? width - 1 : 0);
            if (token < 0 || token >= length) continue;
            sum += static_cast<double>(taps[d][k * channels + i]) * xz[(std::int64_t{b} * length + token) * 2 * channels + i];
          }
          expected.push_back(sum / (1 + std::exp(-sum)));
        }
    error = std::max(error, difference<Element>(*outputs[d], expected));
  }
  return error;
}

template <class Run>
double with_type(Type type, const Run& run) {
  switch (type) {
    case Type::kFloat32: return run(vim_scan::Float32{});
    case Type::kFloat16: return run(vim_scan::Float16{});
    default: return run(vim_scan::BFloat16{});
  }
}

void report(double error, Type type, const char* what) {
  const int index = static_cast<int>(type);
  worst[index] = std::max(worst[index], error);
  if (error <= kTolerance[index]) return;
  ++failures;
  std::printf("FAILED type %d %s: error %.2e, tolerance %.2e\n", index, what, error, kTolerance[index]);
}

double run_pair(const Case& c, Type type, cuda_shim::Order order) {
  return with_type(type, [&](auto element) { return run_pair<decltype(element)>(c, type, order); });
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (int variant = 0; variant < vim_fused::kPairVariantCount; ++variant) {
    const int width = vim_fused::kPairThreads / vim_fused::kPairVariants[variant].lanes *
                      vim_fused::kPairVariants[variant].channels;
    all.push_back({variant, 1, 1, 1, 1, 1, 1, true, true, false});
    all.push_back({variant, 1, 16, width, 16, 4, 1, true, false, false});      // one tile, no tails
    all.push_back({variant, 2, 17, width + 3, 16, 5, 1, true, true, false});   // the directions' tiles do not coincide
    all.push_back({variant, 1, 48, width, 15, 12, 1, false, true, false});     // odd number of tiles
    all.push_back({variant, 1, 64, 2 * width, 16, 12, 1, true, true, true});   // even number, element-wise accesses
    all.push_back({variant, 2, 90, width + 1, 16, 48, 3, true, true, false});  // three chunks, the largest rank
    all.push_back({variant, 1, 197, width, 16, 12, 2, true, true, false});     // the network's length
  }
  return all;
}

constexpr Type kTypes[] = {Type::kFloat32, Type::kFloat16, Type::kBFloat16};

// Each kind of barrier is needed: before the loop, before the recurrence, after it, and between the directions in the
// tile that they share, which is the third one of 70 tokens.
void check_barriers() {
  const Case c{0, 1, 70, 64, 16, 12, 1, true, true, false};
  for (const int barrier : {0, 1, 2, 7}) {
    cuda_shim::state.skipped_barrier = barrier;
    const double error = std::max(run_pair(c, Type::kFloat32, cuda_shim::Order::kAscending),
                                  run_pair(c, Type::kFloat32, cuda_shim::Order::kDescending));
    cuda_shim::state.skipped_barrier = -1;
    if (error > kTolerance[0]) continue;
    ++failures;
    std::printf("FAILED: skipping barrier %d was not detected\n", barrier);
  }
}

}  // namespace

int main() {
  std::size_t count = 0;
  for (const Case& c : cases()) {
    for (const Type type : kTypes) {
      char what[160];
      std::snprintf(what, sizeof what, "variant %d batch %d length %d channels %d state %d rank %d parts %d",
                    c.variant, c.batch, c.length, c.channels, c.state, c.rank, c.parts);
      report(run_pair(c, type, count++ % 2 ? cuda_shim::Order::kDescending : cuda_shim::Order::kAscending), type, what);
    }
  }
  check_barriers();
  for (const Type type : kTypes) {
    for (const int length : {1, 3, 8, 21}) {
      for (const int channels : {2, 7, 300}) {
        for (const int width : {1, 4, 5}) {
          for (const bool any : {true, false}) {
            if (!any && width != 4) continue;
            char what[120];
            std::snprintf(what, sizeof what, "convolution, length %d channels %d width %d any %d", length, channels,
                          width, any);
            const auto order = count++ % 2 ? cuda_shim::Order::kDescending : cuda_shim::Order::kAscending;
            report(with_type(type, [&](auto element) {
                     return run_conv<decltype(element)>(2, length, channels, width, length == 21, any, type, order);
                   }), type, what);
          }
        }
      }
    }
  }
  std::printf("%zu regular runs; largest error: float32 %.2e, float16 %.2e, bfloat16 %.2e; %d failures\n", count,
              worst[0], worst[1], worst[2], failures);
  return failures == 0 ? 0 : 1;
}
