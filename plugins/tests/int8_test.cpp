// Matmuls in int8: every width and instruction set must give the bits of a scalar oracle, which sums in 64 bits. Buffers
// end with the tensors, so that AddressSanitizer detects accesses beyond them.
#include "all_kernels.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace {

using vim_fused::Kernels;
using vim_fused::WeightType;
using Floats = std::vector<float>;

int failures = 0;
int runs = 0;
std::mt19937 generator(1);

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

float normal() { return std::normal_distribution<float>()(generator); }

struct Problem {
  std::int64_t rows, depth, columns;
  std::vector<int> weights;  // (depth, columns)
  Floats scales;             // (columns)
  Floats x;                  // (rows, depth)
  Floats smoothing;          // (depth), or empty

  Problem(std::int64_t row_count, std::int64_t size, std::int64_t column_count, bool smooth)
      : rows(row_count), depth(size), columns(column_count), weights(index(size * column_count)),
        scales(index(column_count)), x(index(row_count * size)), smoothing(smooth ? index(size) : 0) {
    for (int& weight : weights) weight = static_cast<int>(generator() % 255) - 127;
    for (float& scale : scales) scale = std::exp(normal());
    for (float& value : x) value = normal();
    for (float& factor : smoothing) factor = std::exp(normal());
  }

  // As vim-build packs them.
  std::vector<std::int32_t> packed() const {
    const vim_test::PackedLayout layout = {2 + (depth + 3) / 4, columns};
    std::vector<std::int32_t> panels(layout.size());
    for (std::int64_t c = 0; c < columns; ++c) {
      std::memcpy(&panels[layout.at(1, c)], &scales[index(c)], sizeof(float));
      for (std::int64_t k = 0; k < depth; ++k) {
        const int weight = weights[index(k * columns + c)];
        panels[layout.at(0, c)] -= 128 * weight;
        auto* bytes = reinterpret_cast<signed char*>(&panels[layout.at(2 + k / 4, c)]);
        bytes[k % 4] = static_cast<signed char>(weight);
      }
    }
    return panels;
  }

  Floats expected() const {
    Floats y(index(rows * columns));
    for (std::int64_t row = 0; row < rows; ++row) {
      Floats values(x.begin() + row * depth, x.begin() + (row + 1) * depth);
      float largest = 0.0f;
      for (std::int64_t k = 0; k < depth; ++k) {
        if (!smoothing.empty()) values[index(k)] *= smoothing[index(k)];
        largest = std::fmax(largest, std::fabs(values[index(k)]));
      }
      const bool zero = largest <= 1e-36f;
      const float inverse = zero ? 0.0f : 127.0f / largest, scale = zero ? 0.0f : largest / 127.0f;
      for (std::int64_t c = 0; c < columns; ++c) {
        std::int64_t sum = 0;
        for (std::int64_t k = 0; k < depth; ++k)
          sum += std::llrint(values[index(k)] * inverse) * weights[index(k * columns + c)];
        y[index(row * columns + c)] = static_cast<float>(sum) * (scales[index(c)] * scale);
      }
    }
    return y;
  }

  Floats found(const Kernels& kernels) const {
    const std::vector<std::int32_t> panels = packed();
    Floats y(index(rows * columns), 123.25f);
    const vim_fused::Project problem = {rows, x.data(), weights_in(panels), y.data()};
    for (std::int64_t task = vim_fused::task_count(problem); task-- > 0;) kernels.project(problem, task, task + 1);
    return y;
  }

  // Through the operator whose first matmul is added to a residual, here 0.
  Floats found_before_norm(const Kernels& kernels) const {
    const std::vector<std::int32_t> panels = packed();
    const Floats zeros(index(rows * columns)), ones(index(columns), 1.0f), after(index(columns * 16));
    Floats sum(index(rows * columns), 123.25f), y(index(rows));
    const vim_fused::NormProject problem = {
        rows, columns, 1.0f, x.data(), weights_in(panels), zeros.data(), ones.data(),
        {columns, 1, WeightType::kFloat32, after.data()}, sum.data(), y.data()};
    for (std::int64_t task = vim_fused::task_count(problem); task-- > 0;) kernels.norm_project(problem, task, task + 1);
    return sum;
  }

  vim_fused::Weights weights_in(const std::vector<std::int32_t>& panels) const {
    if (4 * panels.size() != index(vim_fused::packed_size(WeightType::kInt8, depth, columns))) ++failures;
    return {depth, columns, WeightType::kInt8, panels.data(), smoothing.empty() ? nullptr : smoothing.data()};
  }
};

void check(const std::vector<Kernels>& all, const Problem& problem) {
  const Floats expected = problem.expected();
  for (const Kernels& kernels : all) {
    ++runs;
    if (problem.found(kernels) == expected && problem.found_before_norm(kernels) == expected) continue;
    ++failures;
    std::printf("%s: other results for %lld rows, depth %lld, %lld columns\n", kernels.name,
                static_cast<long long>(problem.rows), static_cast<long long>(problem.depth),
                static_cast<long long>(problem.columns));
  }
}

// The largest sums: all terms are 127 * 127 with one sign. 16-bit partial sums of two terms would saturate.
void check_extremes(const std::vector<Kernels>& all, std::int64_t depth) {
  for (int sign : {1, -1}) {
    Problem problem(5, depth, 50, false);
    for (int& weight : problem.weights) weight = 127 * sign;
    for (float& value : problem.x) value = 2.5f;
    check(all, problem);
  }
}

// Values that lie between two integers round to the even one: the largest value is 127, so that the scale is 1.
void check_ties(const std::vector<Kernels>& all) {
  Problem problem(7, 21, 49, false);
  for (std::int64_t i = 0; i < problem.rows * problem.depth; ++i)
    problem.x[index(i)] = i % problem.depth == 0 ? 127.0f : static_cast<float>(i % 40) - 19.5f;
  check(all, problem);
}

void check_small_rows(const std::vector<Kernels>& all) {
  Problem problem(6, 33, 20, true);
  const float factors[] = {0.0f, 1e-44f, 1e-38f, 1e-34f, 1e30f, 1.0f};
  for (std::int64_t i = 0; i < problem.rows * problem.depth; ++i) problem.x[index(i)] *= factors[i / problem.depth];
  check(all, problem);
}

// A row with NaN or infinity has no finite output, and changes no other row.
void check_not_finite(const std::vector<Kernels>& all, float value, std::int64_t place) {
  Problem problem(9, 35, 50, false);
  const Floats before = problem.expected();
  problem.x[index(4 * problem.depth + place)] = value;
  for (const Kernels& kernels : all) {
    const Floats found = problem.found(kernels);
    ++runs;
    bool correct = true;
    for (std::int64_t i = 0; i < problem.rows * problem.columns; ++i)
      correct = correct && (i / problem.columns == 4 ? !std::isfinite(found[index(i)]) : found[index(i)] == before[index(i)]);
    if (correct) continue;
    ++failures;
    std::printf("%s: wrong results for a row with %g\n", kernels.name, static_cast<double>(value));
  }
}

}  // namespace

int main() {
  const std::vector<Kernels> all = vim_test::kernels_here();
  for (bool smooth : {false, true}) {
    for (std::int64_t rows : {1, 2, 5, 6, 7, 8, 9, 33, 70}) check(all, Problem(rows, 64, 48, smooth));
    for (std::int64_t depth : {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 192, 383})
      check(all, Problem(9, depth, 52, smooth));
    for (std::int64_t columns = 1; columns <= 100; ++columns) check(all, Problem(9, 30, columns, smooth));
  }
  for (std::int64_t depth : {4, 64, 3072}) check_extremes(all, depth);
  check_ties(all);
  check_small_rows(all);
  for (std::int64_t place : {0, 17, 34}) {
    check_not_finite(all, std::numeric_limits<float>::quiet_NaN(), place);
    check_not_finite(all, std::numeric_limits<float>::infinity(), place);
    check_not_finite(all, -std::numeric_limits<float>::infinity(), place);
  }
  std::printf("%d comparisons with %zu kernels, %d failures\n", runs, all.size(), failures);
  return failures == 0 ? 0 : 1;
}
