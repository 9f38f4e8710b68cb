#include "pair_cuda_plan.h"

#include <algorithm>
#include <limits>

namespace vim_fused {
namespace {

using vim_scan::aligned;
using vim_scan::CudaPlan;
using vim_scan::CudaVariant;

constexpr vim_scan::CudaVariants kVariants = {kPairVariants, kPairVariantCount, kPairThreads};

// Two directions, each with the states between chunks, at 16-byte boundaries.
std::size_t summary_bytes(std::size_t one_direction) { return (one_direction + 15) / 16 * 16; }

std::size_t sums_bytes(std::int64_t batch, std::int64_t length, std::int64_t channels) {
  return (static_cast<std::size_t>(batch) * static_cast<std::size_t>(length) * static_cast<std::size_t>(channels) *
              sizeof(float) + 15) / 16 * 16;
}

std::size_t element_bytes(Type type) { return type == Type::kFloat32 ? 4 : 2; }

std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) { return (value + divisor - 1) / divisor; }

}  // namespace

const char* pair_sizes_error(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state,
                             std::int64_t rank) {
  if (state > kPairMaxState) return "ScanPair: the state size is above 16, the maximum of the CUDA kernel";
  if (rank < 1) return "ScanPair: the rank is below 1";
  if (rank > kPairMaxRank) return "ScanPair: the rank is above 48, the maximum of the CUDA kernel";
  if (state < 1) return "ScanPair: the state size is below 1";
  return vim_scan::cuda_sizes_error(batch, length, channels, state) == nullptr
             ? nullptr
             : "ScanPair: batch, length or channels are outside of the kernel's limits";
}

const char* conv_sizes_error(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t width) {
  if (width < 1) return "CausalConvPair: the width is below 1";
  if (width > kConvMaxWidth) return "CausalConvPair: the width is above 16, the maximum of the CUDA kernel";
  if (vim_scan::cuda_sizes_error(batch, length, channels, 1) != nullptr ||
      batch * ceil_div(length, kConvTokens) > std::numeric_limits<std::int32_t>::max() / ceil_div(channels, kConvThreads))
    return "CausalConvPair: batch, length or channels are outside of the kernel's limits";
  return nullptr;
}

CudaPlan plan_pair(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state,
                   int multiprocessors) {
  return vim_scan::choose_plan(kVariants, batch, length, channels, state, multiprocessors);
}

CudaPlan lay_out_pair(int variant, std::int64_t batch, std::int64_t length, std::int64_t channels,
                      std::int64_t parts) {
  return vim_scan::lay_out(kVariants, variant, batch, length, channels, parts);
}

std::size_t pair_workspace_bytes(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state) {
  if (batch < 0 || pair_sizes_error(1, length, channels, state, 1) != nullptr) return 0;
  return sums_bytes(batch, length, channels) +
         2 * summary_bytes(vim_scan::most_workspace_bytes(kVariants, channels, state));
}

PairKernelArguments pair_arguments(const CudaScanPair& scan, const CudaPlan& plan) {
  const CudaVariant& shape = kPairVariants[plan.variant];
  const std::size_t element = element_bytes(scan.type);
  const std::size_t row = static_cast<std::size_t>(shape.channels) * element;
  const std::size_t run = static_cast<std::size_t>(shape.time * shape.states * shape.lanes / kPairThreads) * element;
  PairKernelArguments result{};
  result.scan = scan;
  result.chunk_length = plan.chunk_length;
  result.chunks = static_cast<std::uint32_t>(plan.chunks);
  result.channel_tiles = static_cast<std::uint32_t>(plan.channel_tiles);
  result.rank = static_cast<int>((scan.rank + 3) / 4 * 4);
  result.wide_rows = scan.channels % shape.channels == 0 && aligned(scan.xz, row) && aligned(scan.y, row);
  const auto step = static_cast<std::size_t>(scan.rank) * element, states = static_cast<std::size_t>(scan.state) * element;
  result.wide_projections = scan.state == shape.states * shape.lanes && step % run == 0 && states % run == 0;
  for (const CudaScanPair::Direction& direction : scan.directions) {
    result.wide_rows = result.wide_rows && aligned(direction.u, row);
    result.wide_projections = result.wide_projections && aligned(direction.projection, run);
  }
  auto* at = static_cast<char*>(scan.workspace);
  result.sums = reinterpret_cast<float*>(at);
  at += sums_bytes(scan.batch, scan.length, scan.channels);
  for (float*& summaries : result.summaries) {
    summaries = reinterpret_cast<float*>(at);
    at += summary_bytes(plan.workspace_bytes);
  }
  return result;
}

ConvKernelArguments conv_arguments(const CudaConvPair& conv) {
  const std::size_t row = kConvChannels * element_bytes(conv.type);
  ConvKernelArguments result{};
  result.conv = conv;
  result.channel_tiles = static_cast<std::uint32_t>(ceil_div(conv.channels, kConvThreads * kConvChannels));
  result.token_tiles = static_cast<std::uint32_t>(ceil_div(conv.length, kConvTokens));
  result.wide = conv.channels % kConvChannels == 0 && aligned(conv.xz, row) &&
                aligned(conv.directions[0].u, row) && aligned(conv.directions[1].u, row);
  return result;
}

std::int64_t conv_blocks(const ConvKernelArguments& arguments) {
  return arguments.conv.batch * arguments.token_tiles * arguments.channel_tiles;
}

}  // namespace vim_fused
