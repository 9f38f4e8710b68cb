// The fused operators on CPUs: they take raw pointers and sizes, use no framework and start no threads. README.md in
// this folder specifies them.
#pragma once

#include <cstdint>

#include "contract_fused.h"

namespace vim_fused {

struct Norm {
  std::int64_t rows;
  std::int64_t size;
  float epsilon;
  const float* x;         // (rows, size)
  const float* residual;  // (rows, size); null: no residual
  const float* weight;    // (size)
  float* y;               // (rows, size)
  float* sum;             // (rows, size), x + residual; null without a residual
};

// The first direction runs forward in time, the second backward.
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

enum class WeightType { kFloat32, kBFloat16, kInt8 };

// The weights of a matmul, (depth, columns), packed into panels of kPanel columns, one after another. The last one has
// only the remaining columns, padded with zeros to a multiple of kPanelMultiple. The inputs are rounded to the weights'
// type; outputs are float32, and sums float32 or, for int8, int32.
struct Weights {
  std::int64_t depth;
  std::int64_t columns;
  WeightType type;
  // A panel is, in float32: (depth, width); in bfloat16: ((depth + 1) / 2, width, 2); in int8: (kInt8Rows + (depth + 3)
  // / 4, width, 4), where the first rows are the columns' offsets (int32) and scales (float32).
  const void* panels;
  const float* smoothing = nullptr;  // int8: (depth), factors of the inputs before they are rounded; null: none
};
constexpr std::int64_t kPanel = 48;
constexpr std::int64_t kPanelMultiple = 16;  // lanes of the widest vectors; rows of panels are multiples of 64 bytes
constexpr std::int64_t kInt8Rows = 2;
constexpr std::int64_t kInt8Depth = 4;  // values of a column in one 32-bit lane

// The largest rank of a scan's time steps with `reduced`.
constexpr std::int64_t kMaxReducedRank = 64;

// The largest supported depth of a matmul.
constexpr std::int64_t kMaxDepth = 3072;

// The number of values of packed weights. `columns` must be less than 2^40, so that it does not overflow.
std::int64_t packed_size(WeightType type, std::int64_t depth, std::int64_t columns);

// Patches of images (channels, height, width) that do not overlap, row by row. Values in the order (channels, height,
// width).
struct Patches {
  std::int64_t channels;
  std::int64_t height;        // of an image
  std::int64_t width;
  std::int64_t patch_height;  // divides the height
  std::int64_t patch_width;
};

// y = x @ weights.
struct Project {
  std::int64_t rows;
  const float* x;   // (rows, weights.depth); with patches images, whose patches are the rows
  Weights weights;  // (depth, columns)
  float* y;         // (rows, columns)
  const Patches* patches = nullptr;
};

// sum = x, or residual + x @ before; y = RMSNorm(sum) @ after.
struct NormProject {
  std::int64_t rows;
  std::int64_t size;  // of the normalized rows
  float epsilon;
  const float* x;         // (rows, size) or (rows, before.depth)
  Weights before;         // (.., size); panels null: x itself is normalized
  const float* residual;  // (rows, size); null without `before`
  const float* weight;    // (size), the norm's
  Weights after;          // (size, columns)
  float* sum;             // (rows, size); null without `before`
  float* y;               // (rows, columns)
};

// ConvPair, followed by a matmul of each direction's u.
struct ConvProject {
  ConvPair conv;
  struct Direction {
    Weights weights;    // (channels, columns)
    float* projection;  // (batch, length, columns)
  } directions[2];
};

struct ScanPair {
  std::int64_t batch;
  std::int64_t length;
  std::int64_t channels;
  std::int64_t state;
  std::int64_t rank;
  bool delta_softplus;
  bool reduced;   // less accurate functions, if the instruction set has them; delta_weight is bfloat16
  float scale;    // factor of the output
  const float* z;  // (batch, length, channels), rows z_pitch floats apart
  std::int64_t z_pitch;
  float* y;  // (batch, length, channels)
  struct Direction {
    const float* u;             // (batch, length, channels)
    const float* projection;    // (batch, length, rank + 2 * state): time step, B, C
    const void* delta_weight;   // (rank, channels); reduced: ((rank + 1) / 2, channels, 2)
    const float* A;             // (state, channels)
    const float* D;             // (channels)
    const float* delta_bias;    // (channels)
  } directions[2];
};

// The number of independent tasks, which may run on any threads in any order without affecting the result's bits.
// Sizes must be at least 1, `rows` and `batch` at least 0.
std::int64_t task_count(const Norm& norm);
std::int64_t task_count(const ConvPair& conv);
std::int64_t task_count(const ScanPair& scan);
std::int64_t task_count(const Project& project);
std::int64_t task_count(const NormProject& norm);
std::int64_t task_count(const ConvProject& conv);

// The kernels of one instruction set; each runs the tasks first .. last-1.
struct Kernels {
  const char* name;
  void (*norm)(const Norm& norm, std::int64_t first, std::int64_t last);
  void (*conv)(const ConvPair& conv, std::int64_t first, std::int64_t last);
  void (*scan)(const ScanPair& scan, std::int64_t first, std::int64_t last);
  void (*project)(const Project& project, std::int64_t first, std::int64_t last);
  void (*norm_project)(const NormProject& norm, std::int64_t first, std::int64_t last);
  void (*conv_project)(const ConvProject& conv, std::int64_t first, std::int64_t last);
};

// The kernels of vim_scan::instruction_set(), which must not be null.
const Kernels& kernels();

}  // namespace vim_fused
