// The choice of variant and chunks. With the argument `plans`: prints the plans for the network's shapes on a GPU with
// 132 multiprocessors.
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "pair_cuda_plan.h"
#include "scan_cuda_plan.h"

namespace {

using vim_scan::CudaPlan;
using vim_scan::CudaVariant;

int failures = 0;

void check(bool holds, const char* what, const CudaPlan& plan) {
  if (holds) return;
  ++failures;
  std::printf("FAILED: %s (variant %d, chunks %d of %d, blocks %d)\n", what, plan.variant,
              static_cast<int>(plan.chunks), static_cast<int>(plan.chunk_length), static_cast<int>(plan.blocks));
}

CudaPlan plan_for(int batch, int length, int channels, int state = 16, int multiprocessors = 132) {
  return vim_scan::plan_cuda(batch, length, channels, state, multiprocessors);
}

void check_rules(int batch, int length, int channels, int state, int multiprocessors) {
  const CudaPlan plan = plan_for(batch, length, channels, state, multiprocessors);
  const CudaVariant& shape = vim_scan::kCudaVariants[plan.variant];
  check(shape.states * shape.lanes >= state, "every state is covered", plan);
  check(plan.chunks * plan.chunk_length >= length, "every token is in a chunk", plan);
  check((plan.chunks - 1) * plan.chunk_length < length, "no chunk is empty", plan);
  check(plan.chunk_length % shape.time == 0, "chunks are whole tiles", plan);
  check(plan.channel_tiles * vim_scan::block_channels(shape) >= channels, "every channel is in a tile", plan);
  check(plan.blocks == batch * plan.chunks * plan.channel_tiles, "one block per element, chunk and tile", plan);
  check(plan.workspace_bytes <= vim_scan::cuda_workspace_bytes(channels, state), "the workspace is sufficient", plan);
  check((plan.workspace_bytes > 0) == (plan.chunks > 1), "only chunks need a workspace", plan);
}

void check_all_rules() {
  for (const int batch : {1, 3, 64}) {
    for (const int length : {1, 31, 32, 33, 197, 730, 6085, 100000}) {
      for (const int channels : {1, 5, 384, 1536, 5000}) {
        for (const int state : {1, 8, 9, 16, 17, 32, 33, 64, 65, 256}) {
          for (const int multiprocessors : {1, 16, 132, 160}) {
            check_rules(batch, length, channels, state, multiprocessors);
          }
        }
      }
    }
  }
}

// Plans of both directions in one launch.
void check_pair_rules(int batch, int length, int channels, int multiprocessors) {
  constexpr int kState = 16;
  const CudaPlan plan = vim_fused::plan_pair(batch, length, channels, kState, multiprocessors);
  const CudaVariant& shape = vim_fused::kPairVariants[plan.variant];
  const int width = vim_fused::kPairThreads / shape.lanes * shape.channels;
  check(plan.chunks * plan.chunk_length >= length, "pair: every token is in a chunk", plan);
  check((plan.chunks - 1) * plan.chunk_length < length, "pair: no chunk is empty", plan);
  check(plan.channel_tiles * width >= channels, "pair: every channel is in a tile", plan);
  check(plan.blocks == batch * plan.chunks * plan.channel_tiles, "pair: one block per element, chunk and tile", plan);
  std::vector<char> memory(vim_fused::pair_workspace_bytes(batch, length, channels, kState));
  vim_fused::CudaScanPair scan{};
  scan.batch = batch, scan.length = length, scan.channels = channels, scan.state = kState, scan.rank = 12;
  scan.workspace = memory.data();
  const vim_fused::PairKernelArguments arguments = vim_fused::pair_arguments(scan, plan);
  const char* last = reinterpret_cast<const char*>(arguments.summaries[1]) + plan.workspace_bytes;
  check(last <= memory.data() + memory.size(), "pair: the workspace is sufficient", plan);
}

void check_all_pair_rules() {
  for (const int batch : {1, 3, 64})
    for (const int length : {1, 17, 197, 730})
      for (const int channels : {1, 5, 384, 1536})
        for (const int multiprocessors : {1, 16, 132}) check_pair_rules(batch, length, channels, multiprocessors);
  const CudaPlan full = vim_fused::plan_pair(64, 197, 384, 16, 132);
  check(full.variant == 0 && full.chunks == 1 && full.blocks == 384, "pair: a full GPU", full);
  const CudaPlan single = vim_fused::plan_pair(1, 197, 384, 16, 132);
  check(single.variant == 1 && single.chunks == 1 && single.blocks == 96, "pair: one short image", single);
}

// The plan that each variant is intended for.
void check_choices() {
  const CudaPlan full = plan_for(64, 197, 384);
  check(full.variant == 1 && full.chunks == 1, "a full GPU: the tuned variant, no second pass", full);
  const CudaPlan single = plan_for(1, 197, 384);
  check(single.variant == 2 && single.chunks == 1, "one short image: a channel over 16 threads", single);
  const CudaPlan high = plan_for(1, 6085, 384);
  check(high.chunks > 1 && high.blocks >= 132, "one long image: chunks that fill the GPU", high);
  const CudaPlan small = plan_for(64, 197, 384, 16, 16);
  check(small.chunks == 1, "a small GPU needs no chunks", small);
}

void check_refusals() {
  const CudaPlan none{};
  const auto refused = [](int batch, int length, int channels, int state) {
    return vim_scan::cuda_sizes_error(batch, length, channels, state) != nullptr;
  };
  check(!refused(0, 1, 1, 1), "an empty batch is supported", none);
  check(!refused(64, 6085, 1536, 256), "large sizes are supported", none);
  check(refused(-1, 1, 1, 1) && refused(1, 0, 1, 1), "batch and length too small", none);
  check(refused(1, 1, 0, 1) && refused(1, 1, 1, 0), "channels and state too small", none);
  check(refused(1, 1, 1, 257), "a state size above the maximum", none);
  check(refused(1 << 30, 1, 1 << 20, 16), "more blocks than a grid can have", none);
  check(vim_scan::cuda_workspace_bytes(384, 257) == 0 && vim_scan::cuda_workspace_bytes(0, 16) == 0,
        "no workspace for unsupported sizes", none);
  check(vim_scan::cuda_workspace_bytes(384, 16) < 3000000 && vim_scan::cuda_workspace_bytes(1536, 256) < 9000000,
        "the workspace is small", none);
}

void print_plans() {
  std::printf("batch length channels | states lanes | chunks length blocks workspace\n");
  for (const int batch : {1, 8, 64}) {
    for (const int length : {197, 730, 1025, 6085}) {
      for (const int channels : {384, 768, 1536}) {
        const CudaPlan plan = plan_for(batch, length, channels);
        const CudaVariant& shape = vim_scan::kCudaVariants[plan.variant];
        std::printf("%5d %6d %8d | %6d %5d | %6d %6d %6d %9zu\n", batch, length, channels, shape.states, shape.lanes,
                    static_cast<int>(plan.chunks), static_cast<int>(plan.chunk_length),
                    static_cast<int>(plan.blocks), plan.workspace_bytes);
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1 && std::strcmp(arguments[1], "plans") == 0) {
    print_plans();
    return 0;
  }
  check_all_rules();
  check_all_pair_rules();
  check_choices();
  check_refusals();
  std::printf("CUDA plans: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
