// The selective scan on a CPU: raw pointers and sizes, no framework and no threads of its own.
// README.md in this folder is the operator's contract.
#pragma once

#include <cstdint>

namespace vim_scan {

// Sizes, tensors and how far apart their tokens are. Plain C layout: the Python binding mirrors it.
struct Arguments {
  std::int64_t batch;
  std::int64_t length;
  std::int64_t channels;
  std::int64_t state;
  std::int32_t delta_softplus;  // 0 or 1
  std::int32_t reverse;         // 0 or 1
  const float* u;               // (batch, length, channels)
  const float* delta;           // (batch, length, channels)
  const float* A;               // (channels, state), dense
  const float* B;               // (batch, length, state)
  const float* C;               // (batch, length, state)
  const float* D;               // (channels); null: no skip term
  const float* z;               // (batch, length, channels); null: no gate
  const float* delta_bias;      // (channels); null: no bias
  float* y;                     // (batch, length, channels); overlaps no input
  // Floats from one token's row to the next, at least the row's own size. Larger ones read or write
  // slices of wider tensors; a batch element is `length` rows further on.
  std::int64_t u_pitch;
  std::int64_t delta_pitch;
  std::int64_t B_pitch;
  std::int64_t C_pitch;
  std::int64_t z_pitch;
  std::int64_t y_pitch;
};

// Sets every pitch to that of a dense tensor.
void set_dense_pitches(Arguments& arguments);

// The work falls into this many independent tasks, which any threads may run in any order. It depends on
// the sizes alone, and so does every bit of the result. Sizes must be at least 1, `batch` at least 0.
std::int64_t task_count(const Arguments& arguments);

// Runs the tasks first .. last-1. Needs a usable `instruction_set()`.
void run_tasks(const Arguments& arguments, std::int64_t first, std::int64_t last);

// The instruction set in use ("avx512", "avx2" or "portable"): the best that the processor has, or the one
// that the environment variable VIM_DEPLOY_ISA names; chosen once, when the library is loaded. Null where
// that variable names one that is unknown or that this processor lacks; `instruction_set_error()` says so.
const char* instruction_set();
const char* instruction_set_error();

// All that this build on this processor can use, best first, as in "avx2, portable".
const char* usable_instruction_sets();

}  // namespace vim_scan
