// The fused kernels that run on this CPU: of every width without special instructions, and of every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fused.h"

namespace vim_test {

#if defined(VIM_TEST_AVX2)
// Eight lanes with the dot product instruction in the encoding of AVX-512, for CPUs that lack the one of avx2_vnni.
extern const vim_fused::Kernels kEightLanesDot;
#endif

// Packed weights as README.md specifies them, in lanes of 32 bits: panels of 48 columns, the last one of 16, 32 or 48.
struct PackedLayout {
  std::int64_t rows;  // of a panel
  std::int64_t columns;

  std::size_t size() const { return static_cast<std::size_t>(rows * ((columns + 15) / 16 * 16)); }
  std::size_t at(std::int64_t row, std::int64_t column) const {
    const std::int64_t first = column / 48 * 48, left = columns - first;
    const std::int64_t width = left > 32 ? 48 : left > 16 ? 32 : 16;
    return static_cast<std::size_t>(first * rows + row * width + column % 48);
  }
};

std::vector<vim_fused::Kernels> kernels_here();

}  // namespace vim_test
