// The selective scan on a CPU: takes raw pointers and sizes, uses no framework and starts no threads.
// README.md in this folder is the operator's contract.
#pragma once

#include <cstdint>

namespace vim_scan {

// Sizes, tensors and row pitches. Plain C layout, which vim_deploy/ops/native.py mirrors.
struct Arguments {
  std::int64_t batch;
  std::int64_t length;
  std::int64_t channels;
  std::int64_t state;
  std::int32_t delta_softplus;  // 0 or 1
  std::int32_t reverse;         // 0 or 1
  std::int32_t groups = 1;      // of channels / groups channels, which share a row of B and C
  const float* u;               // (batch, length, channels)
  const float* delta;           // (batch, length, channels)
  const float* A;               // (channels, state), dense
  const float* B;               // (batch, length, groups x state)
  const float* C;               // (batch, length, groups x state)
  const float* D;               // (channels); null: no skip term
  const float* z;               // (batch, length, channels); null: no gate
  const float* delta_bias;      // (channels); null: no bias
  float* y;                     // (batch, length, channels); must not overlap an input
  // Number of floats from one token's row to the next, at least the row's size; larger for slices of wider tensors.
  // Batch elements are `length` rows apart.
  std::int64_t u_pitch;
  std::int64_t delta_pitch;
  std::int64_t B_pitch;
  std::int64_t C_pitch;
  std::int64_t z_pitch;
  std::int64_t y_pitch;
};

// Sets all pitches for dense tensors.
void set_dense_pitches(Arguments& arguments);

// The number of independent tasks, which may run on any threads in any order without affecting the result's bits. It
// depends only on the sizes. Sizes must be at least 1, `batch` at least 0.
std::int64_t task_count(const Arguments& arguments);

// Runs the tasks first .. last-1. Requires a valid `instruction_set()`.
void run_tasks(const Arguments& arguments, std::int64_t first, std::int64_t last);

// The instruction set in use ("avx512_bf16", "avx512_vnni", "avx512", "avx2_vnni" or "avx2" on x86-64, "neon_bf16" or
// "neon" on aarch64, or "portable"): the best of this CPU, or the one in the environment variable VIM_DEPLOY_ISA. It is
// selected once, when the library is loaded. Null if the variable names an unknown or unsupported one; then
// `instruction_set_error()` is the message.
const char* instruction_set();
const char* instruction_set_error();

// All instruction sets of this build that this CPU supports, best first, such as "avx2, portable".
const char* usable_instruction_sets();

}  // namespace vim_scan
