// Selects the variant and the chunks. Host code only, so that it is tested without a GPU.
#include "scan_cuda_plan.h"

#include <algorithm>
#include <limits>

namespace vim_scan {
namespace {

// The maximum number of blocks of a chunked call, for one channel a thread: several for each multiprocessor of the
// largest GPU, and few enough that the workspace is below 3 MB for every batch and length.
constexpr std::int64_t kMaxChunkedBlocks = 1024;
constexpr std::int64_t kMinChunkTiles = 2;

// Estimates in clock cycles, derived in docs/cuda-kernel.md. They rank plans and are not measured.
constexpr double kTwoPassFactor = 1.75;  // time of summaries and scan, relative to the scan
constexpr double kSecondLaunch = 4000;
constexpr double kCarryPerChunk = 20;

std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) { return (value + divisor - 1) / divisor; }

int padded_state(const CudaVariant& variant) { return variant.states * variant.lanes; }

// Cycles per token of a block on a fully occupied multiprocessor: the maximum of the special-function unit (16 per
// cycle), of instruction issue (128 per cycle) and of shared memory (32 words per cycle). The constants fit the counts
// of tools/machine_code.
double busy_cycles(const CudaVariant& variant) {
  const double lanes = variant.lanes, per_channel = lanes / variant.channels;
  const double special = (padded_state(variant) + 3) / 16.0;
  const double loads = 1.0 + 2.0 * static_cast<double>(ceil_div(variant.states, 4));
  const double issue = (lanes * (5.0 * variant.states + 1.5) + per_channel * loads + 4.0 * (lanes - 1) + 40) / 128;
  const double words = 2.0 * variant.channels + 2.0 * variant.states;
  const double shared = (per_channel * words + lanes - 1 + 5) / 32;
  return block_channels(variant) * std::max({special, issue, shared});
}

// Likewise for the only block on a multiprocessor, where latencies are not hidden.
double latency_cycles(const CudaVariant& variant) { return 1.3 * busy_cycles(variant) + 8; }

std::int64_t max_chunked_blocks(const CudaVariant& variant) { return kMaxChunkedBlocks / variant.channels; }

double estimate(const CudaVariant& variant, const CudaPlan& plan, int multiprocessors) {
  const double per_multiprocessor = static_cast<double>(ceil_div(plan.blocks, multiprocessors));
  const double token = std::max(latency_cycles(variant), per_multiprocessor * busy_cycles(variant));
  const double pass = token * static_cast<double>(plan.chunk_length);
  if (plan.chunks == 1) return pass;
  return kTwoPassFactor * pass + kSecondLaunch + kCarryPerChunk * static_cast<double>(plan.chunks);
}

// Whether the variant is one of the smallest that are large enough for the state size.
bool serves(const CudaVariants& variants, int variant, std::int64_t state) {
  const int padded = padded_state(variants.first[variant]);
  int smallest = std::numeric_limits<int>::max();
  for (int other = 0; other < variants.count; ++other) {
    const int size = padded_state(variants.first[other]);
    if (size >= state) smallest = std::min(smallest, size);
  }
  return padded == smallest;
}

constexpr CudaVariants kScanVariants = {kCudaVariants, kCudaVariantCount, kCudaThreads};

}  // namespace

bool aligned(const void* pointer, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

const char* cuda_sizes_error(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state) {
  if (batch < 0) return "SelectiveScan: the batch is negative";
  if (length < 1) return "SelectiveScan: the length is below 1";
  if (channels < 1) return "SelectiveScan: there are no channels";
  if (state < 1) return "SelectiveScan: the state size is below 1";
  if (state > kCudaMaxState) return "SelectiveScan: the state size is above 256, the maximum of the CUDA kernel";
  // Tokens of a sequence, including one tile beyond the end, are counted in 32 bits; rows and elements in 64.
  if (length > std::numeric_limits<std::int32_t>::max() - 64) return "SelectiveScan: more than 2^31 - 65 tokens";
  if (channels > kCudaMaxChannels) return "SelectiveScan: more than 2^24 channels";
  const std::int64_t tiles = ceil_div(channels, kCudaThreads / 16);
  if (batch > std::numeric_limits<std::int32_t>::max() / tiles) return "SelectiveScan: the batch is too large";
  return nullptr;
}

CudaPlan lay_out(const CudaVariants& variants, int variant, std::int64_t batch, std::int64_t length,
                 std::int64_t channels, std::int64_t parts) {
  const CudaVariant& shape = variants.first[variant];
  CudaPlan plan{};
  plan.variant = variant;
  plan.chunk_length = ceil_div(ceil_div(length, parts), shape.time) * shape.time;
  plan.chunks = ceil_div(length, plan.chunk_length);
  plan.channel_tiles = ceil_div(channels, variants.threads / shape.lanes * shape.channels);
  plan.blocks = batch * plan.chunks * plan.channel_tiles;
  plan.workspace_bytes = sizeof(float) * static_cast<std::size_t>(batch * (plan.chunks - 1) * channels) *
                         static_cast<std::size_t>(padded_state(shape) + 1);
  return plan;
}

CudaPlan choose_plan(const CudaVariants& variants, std::int64_t batch, std::int64_t length, std::int64_t channels,
                     std::int64_t state, int multiprocessors) {
  CudaPlan best{};
  double best_cycles = std::numeric_limits<double>::infinity();
  for (int variant = 0; variant < variants.count; ++variant) {
    if (!serves(variants, variant, state)) continue;
    const CudaVariant& shape = variants.first[variant];
    const std::int64_t most = std::max<std::int64_t>(1, length / (kMinChunkTiles * shape.time));
    for (std::int64_t parts = 1; parts <= std::min(most, max_chunked_blocks(shape)); ++parts) {
      const CudaPlan plan = lay_out(variants, variant, batch, length, channels, parts);
      if (plan.chunks > 1 && plan.blocks > max_chunked_blocks(shape)) break;
      const double cycles = estimate(shape, plan, multiprocessors);
      if (cycles < best_cycles) {
        best = plan;
        best_cycles = cycles;
      }
    }
  }
  return best;
}

std::size_t most_workspace_bytes(const CudaVariants& variants, std::int64_t channels, std::int64_t state) {
  // A chunked plan has batch * (chunks - 1) <= max_chunked_blocks / channel_tiles.
  std::size_t most = 0;
  for (int variant = 0; variant < variants.count; ++variant) {
    if (!serves(variants, variant, state)) continue;
    const CudaVariant& shape = variants.first[variant];
    const std::int64_t tiles = ceil_div(channels, variants.threads / shape.lanes * shape.channels);
    const std::int64_t rows = max_chunked_blocks(shape) / tiles;
    most = std::max(most, sizeof(float) * static_cast<std::size_t>(rows * channels) *
                              static_cast<std::size_t>(padded_state(shape) + 1));
  }
  return most;
}

CudaPlan lay_out_cuda(int variant, std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t parts) {
  return lay_out(kScanVariants, variant, batch, length, channels, parts);
}

CudaPlan plan_cuda(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state,
                   int multiprocessors) {
  return choose_plan(kScanVariants, batch, length, channels, state, multiprocessors);
}

std::size_t cuda_workspace_bytes(std::int64_t channels, std::int64_t state) {
  if (cuda_sizes_error(1, 1, channels, state) != nullptr) return 0;
  return most_workspace_bytes(kScanVariants, channels, state);
}

KernelArguments kernel_arguments(const CudaArguments& arguments, const CudaPlan& plan) {
  const CudaVariant& shape = kCudaVariants[plan.variant];
  const std::size_t element = arguments.type == Type::kFloat32 ? 4 : 2;
  const std::size_t row_bytes = static_cast<std::size_t>(shape.channels) * element;
  const std::size_t projection_bytes =
      std::min<std::size_t>(16, static_cast<std::size_t>(projection_run(shape)) * element);
  KernelArguments result{};
  result.scan = arguments;
  result.chunk_length = plan.chunk_length;
  result.chunks = static_cast<std::uint32_t>(plan.chunks);
  result.grid_chunks = result.chunks;
  result.channel_tiles = static_cast<std::uint32_t>(plan.channel_tiles);
  result.wide_rows = arguments.channels / arguments.groups % shape.channels == 0 && aligned(arguments.u, row_bytes) &&
                     aligned(arguments.delta, row_bytes) && aligned(arguments.z, row_bytes) &&
                     aligned(arguments.y, row_bytes);
  result.wide_projections = arguments.state == padded_state(shape) && aligned(arguments.B, projection_bytes) &&
                            aligned(arguments.C, projection_bytes);
  return result;
}

}  // namespace vim_scan
