// Operators private to CPU engines: raw pointers and sizes, no framework and no threads of their own.
// README.md in this folder says what each computes.
#pragma once

#include <cstdint>

namespace vim_fused {

// The version of the operators' private contract.
constexpr std::int32_t kVersion = 1;
constexpr char kDomain[] = "vim_deploy.cpu";

struct Norm {
  std::int64_t rows;
  std::int64_t size;
  float epsilon;
  const float* x;         // (rows, size)
  const float* residual;  // (rows, size); null: nothing is added
  const float* weight;    // (size)
  float* y;               // (rows, size)
  float* sum;             // (rows, size), x + residual; null where nothing is added
};

// Of the two directions the first runs forwards in time, the second backwards.
struct ConvPair {
  std::int64_t batch;
  std::int64_t length;
  std::int64_t channels;
  std::int64_t width;
  const float* x;  // (batch, length, channels), rows x_pitch floats apart
  std::int64_t x_pitch;
  struct Direction {
    const float* taps;  // (width, channels)
    const float* bias;  // (channels)
    float* u;           // (batch, length, channels)
  } directions[2];
};

struct ScanPair {
  std::int64_t batch;
  std::int64_t length;
  std::int64_t channels;
  std::int64_t state;
  std::int64_t rank;
  bool delta_softplus;
  float scale;     // of the output
  const float* z;  // (batch, length, channels), rows z_pitch floats apart
  std::int64_t z_pitch;
  float* y;  // (batch, length, channels)
  struct Direction {
    const float* u;             // (batch, length, channels)
    const float* projection;    // (batch, length, rank + 2 * state): time step, B, C
    const float* delta_weight;  // (rank, channels)
    const float* A;             // (state, channels)
    const float* D;             // (channels)
    const float* delta_bias;    // (channels)
  } directions[2];
};

// Each kind of work falls into this many independent tasks, which any threads may run in any order; the result's
// bits depend on neither. Sizes must be at least 1, `rows` and `batch` at least 0.
std::int64_t task_count(const Norm& norm);
std::int64_t task_count(const ConvPair& conv);
std::int64_t task_count(const ScanPair& scan);

// One instruction set's kernels; each runs the tasks first .. last-1.
struct Kernels {
  const char* name;
  void (*norm)(const Norm& norm, std::int64_t first, std::int64_t last);
  void (*conv)(const ConvPair& conv, std::int64_t first, std::int64_t last);
  void (*scan)(const ScanPair& scan, std::int64_t first, std::int64_t last);
};

// Those of vim_scan::instruction_set(), which must be usable.
const Kernels& kernels();

}  // namespace vim_fused
