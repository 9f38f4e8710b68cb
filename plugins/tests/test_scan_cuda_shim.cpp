// Runs the source of the CUDA kernel on the CPU and compares it with the contract in float64: every variant and element
// type, odd sizes, tails, unaligned tensors, both directions, with and without chunks. Prints the largest error of each
// type.
#include "cuda_shim.h"
#include "scan_cuda_kernel.cuh"

#include <algorithm>

#include "cuda_buffer.h"
#include "cuda_problem.h"

namespace {

using vim_scan::Type;
using cuda_test::Buffer;
using cuda_test::fill;
using cuda_test::Problem;

int failures = 0;
double worst[3] = {0, 0, 0};

struct Case {
  int variant;
  int batch, length, channels, state;
  int parts;  // approximate number of chunks
  bool delta_softplus, reverse, unaligned;
  bool extreme = false;
  int groups = 1;
  bool gated = true;
};

vim_scan::CudaPlan plan_for(const Case& c) {
  return vim_scan::lay_out_cuda(c.variant, c.batch * c.groups, c.length, c.channels / c.groups, c.parts);
}

template <bool kOutput, class Element, int kVariant>
void launch(const vim_scan::KernelArguments& arguments, std::int64_t blocks, cuda_shim::Order order) {
  using Tile = vim_scan::Shared<vim_scan::Shape<kVariant>>;
  Buffer memory(sizeof(Tile));
  // Shared memory is not preserved between blocks.
  const auto prepare = [&] { std::memset(memory.as<char>(), 0xff, memory.size()); };
  cuda_shim::run(static_cast<unsigned>(blocks), vim_scan::kCudaThreads, order, prepare, [&] {
    vim_scan::scan_block<kOutput, Element>(arguments, *memory.as<Tile>());
  });
}

template <class Element, int kVariant>
void launch_both(vim_scan::KernelArguments arguments, const vim_scan::CudaPlan& plan, cuda_shim::Order order) {
  if (plan.chunks > 1) {
    arguments.grid_chunks = arguments.chunks - 1;
    launch<false, Element, kVariant>(arguments, plan.blocks / plan.chunks * (plan.chunks - 1), order);
  }
  arguments.grid_chunks = arguments.chunks;
  launch<true, Element, kVariant>(arguments, plan.blocks, order);
}

template <class Element>
void launch_variant(const vim_scan::KernelArguments& arguments, const vim_scan::CudaPlan& plan,
                    cuda_shim::Order order) {
  switch (plan.variant) {
    case 0: return launch_both<Element, 0>(arguments, plan, order);
    case 1: return launch_both<Element, 1>(arguments, plan, order);
    case 2: return launch_both<Element, 2>(arguments, plan, order);
    case 3: return launch_both<Element, 3>(arguments, plan, order);
    case 4: return launch_both<Element, 4>(arguments, plan, order);
    default: return launch_both<Element, 5>(arguments, plan, order);
  }
}

// The largest difference from float64, relative to the largest value; infinity if there is a NaN.
template <class Element>
double run_case(const Case& c, Type type, cuda_shim::Order order) {
  using Bits = typename Element::Bits;
  const std::size_t shift = c.unaligned ? sizeof(Bits) : 0;
  Problem p = cuda_test::make_problem(c.batch, c.length, c.channels, c.state, c.delta_softplus, c.reverse, 7, c.groups);
  p.gated = c.gated;
  if (c.extreme) cuda_test::make_extreme(p, 8);
  Buffer u(p.u.size() * sizeof(Bits), shift), delta(p.delta.size() * sizeof(Bits), shift);
  Buffer B(p.B.size() * sizeof(Bits), shift), C(p.C.size() * sizeof(Bits), shift);
  Buffer z(p.z.size() * sizeof(Bits), shift), y(p.u.size() * sizeof(Bits), shift);
  Buffer A(p.A.size() * 4), D(p.D.size() * 4), delta_bias(p.delta_bias.size() * 4);
  fill<Element>(u, p.u), fill<Element>(delta, p.delta), fill<Element>(z, p.z);
  fill<Element>(B, p.B), fill<Element>(C, p.C);
  fill<vim_scan::Float32>(A, p.A), fill<vim_scan::Float32>(D, p.D), fill<vim_scan::Float32>(delta_bias, p.delta_bias);
  const vim_scan::CudaPlan plan = plan_for(c);
  Buffer workspace(plan.workspace_bytes);
  const vim_scan::CudaArguments arguments{
      c.batch, c.length, c.channels, c.state, type, c.delta_softplus, c.reverse,
      u.as<void>(), delta.as<void>(), A.as<float>(), B.as<void>(), C.as<void>(), D.as<float>(),
      c.gated ? z.as<void>() : nullptr, delta_bias.as<float>(), y.as<void>(), workspace.as<void>(), c.groups};
  launch_variant<Element>(vim_scan::kernel_arguments(arguments, plan), plan, order);
  const std::vector<double> expected = p.solve();
  double error = 0, scale = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double got = Element::to_float(y.as<Bits>()[i]);
    if (std::isnan(got)) return INFINITY;
    error = std::max(error, std::fabs(got - expected[i]));
    scale = std::max(scale, std::fabs(expected[i]));
  }
  return error / scale;
}

double run_case(const Case& c, Type type, cuda_shim::Order order) {
  switch (type) {
    case Type::kFloat32: return run_case<vim_scan::Float32>(c, type, order);
    case Type::kFloat16: return run_case<vim_scan::Float16>(c, type, order);
    default: return run_case<vim_scan::BFloat16>(c, type, order);
  }
}

// float32: a few roundings. float16 and bfloat16: the same, plus half a unit in the last place of the stored result,
// which is 2^-11 and 2^-8 of the next power of two.
constexpr double kTolerance[3] = {2e-6, 1.0 / 2048 + 2e-6, 1.0 / 256 + 2e-6};

void check(const Case& c, Type type, cuda_shim::Order order) {
  const int index = static_cast<int>(type);
  const double error = run_case(c, type, order);
  worst[index] = std::max(worst[index], error);
  if (error <= kTolerance[index]) return;
  ++failures;
  std::printf("FAILED type %d variant %d batch %d length %d channels %d state %d parts %d softplus %d reverse %d "
              "unaligned %d extreme %d groups %d gated %d: error %.2e, tolerance %.2e\n",
              index, c.variant, c.batch, c.length, c.channels, c.state, c.parts, c.delta_softplus, c.reverse,
              c.unaligned, c.extreme, c.groups, c.gated, error, kTolerance[index]);
}

constexpr Type kTypes[] = {Type::kFloat32, Type::kFloat16, Type::kBFloat16};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (int variant = 0; variant < vim_scan::kCudaVariantCount; ++variant) {
    const vim_scan::CudaVariant& shape = vim_scan::kCudaVariants[variant];
    const int full = shape.states * shape.lanes, width = vim_scan::block_channels(shape), time = shape.time;
    all.push_back({variant, 1, 1, 1, 1, 1, true, false, false});
    all.push_back({variant, 1, time, width, full, 1, true, false, false});                // no tails
    all.push_back({variant, 2, time + 1, width + 3, full, 1, true, true, false});         // tails everywhere
    all.push_back({variant, 1, 2 * time - 1, 2 * width, full - 1, 1, false, true, false}); // odd state
    all.push_back({variant, 1, time - 1, width, full, 1, true, false, true});             // element-wise accesses
    all.push_back({variant, 2, 2 * time + 5, width + 1, full, 3, true, true, false});  // three chunks
    all.push_back({variant, 1, 4 * time, width, full - 1, 2, true, false, true});
    all.push_back({variant, 2, time + 3, width, full, 1, true, false, false, false, 1, false});         // no gate
    all.push_back({variant, 2, time + 1, 2 * width, full, 1, true, true, false, false, 2, true});       // whole tiles
    all.push_back({variant, 2, 2 * time + 5, 3 * (width + 1), full - 1, 3, true, false, false, false, 3, false});
    all.push_back({variant, 2, 3 * time, 5, full, 2, true, true, false, false, 5, false});  // one channel each
  }
  for (const int variant : {1, 2}) {  // the tuned state size at the network's length
    all.push_back({variant, 1, 197, 40, 16, 1, true, variant == 1, false});
    all.push_back({variant, 1, 197, 32, 16, 4, true, variant == 2, false});
  }
  return all;
}

// Each kind of barrier is needed: without it, the test must fail.
void check_barriers() {
  const Case c{1, 1, 70, 32, 16, 1, true, false, false};
  for (int barrier = 0; barrier < 2; ++barrier) {
    cuda_shim::state.skipped_barrier = barrier;
    const double error = std::max(run_case(c, Type::kFloat32, cuda_shim::Order::kAscending),
                                  run_case(c, Type::kFloat32, cuda_shim::Order::kDescending));
    cuda_shim::state.skipped_barrier = -1;
    if (error > kTolerance[0]) continue;
    ++failures;
    std::printf("FAILED: skipping barrier %d was not detected\n", barrier);
  }
}

// The two functions that are computed with polynomials, over their whole range.
void check_functions() {
  double softplus_error = 0, power_error = 0;
  for (double x = -80; x <= 80; x += 0.00371) {
    const float value = static_cast<float>(x);
    const double expected = std::max<double>(value, 0) + std::log1p(std::exp(-std::fabs(static_cast<double>(value))));
    softplus_error = std::max(softplus_error, std::fabs(vim_scan::softplus(value) / expected - 1));
    const double power = std::exp2(static_cast<double>(value));
    power_error = std::max(power_error, std::fabs(vim_scan::exp2_polynomial(value) / power - 1));
  }
  const bool ends = vim_scan::exp2_polynomial(-1e30f) < 1.2e-38f && std::isinf(vim_scan::exp2_polynomial(200.0f)) &&
                    vim_scan::softplus(-1e30f) == 0 && std::isnan(vim_scan::softplus(NAN));
  std::printf("relative errors: softplus %.2e, exp2_polynomial %.2e\n", softplus_error, power_error);
  if (softplus_error < 6e-6 && power_error < 4e-7 && ends) return;
  ++failures;
  std::printf("FAILED: softplus or exp2_polynomial\n");
}

}  // namespace

int main() {
  check_functions();
  std::size_t count = 0;
  for (const Case& c : cases()) {
    for (const Type type : kTypes) {
      check(c, type, count++ % 2 ? cuda_shim::Order::kDescending : cuda_shim::Order::kAscending);
    }
  }
  for (const int parts : {1, 3}) {  // the results are too large for float16
    check({1, 1, 70, 32, 16, parts, true, false, false, true}, Type::kFloat32, cuda_shim::Order::kAscending);
  }
  check_barriers();
  std::printf("%zu regular runs; largest error: float32 %.2e, float16 %.2e, bfloat16 %.2e; %d failures\n", count,
              worst[0], worst[1], worst[2], failures);
  return failures == 0 ? 0 : 1;
}
