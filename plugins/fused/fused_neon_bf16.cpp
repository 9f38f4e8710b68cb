// Four lanes with bfloat16 matmul instructions; compiled with -march=armv8.2-a+bf16.
#include "lanes_neon.h"
#include "fused_kernel.h"

namespace vim_fused {
namespace {

// Like BFloat16, with the matrix multiplication instruction for bfloat16 (BFMMLA): from four values along the depth of
// two rows and of two columns to their four sums. It treats values below 2^-126 as 0.
struct NativeBFloat16 {
  using Lanes = vim_scan::Neon;
  using Float = Lanes::Float;
  using Weight = uint32_t;
  struct alignas(16) Input {  // four values of a row, then four of the next
    uint32_t pairs[4];
  };
  static constexpr int block_rows = 2;
  static constexpr int panel_rows = 2;
  static constexpr int panel_depth = 2;
  static constexpr int rows = 6;

  struct Columns {  // four values of a column, then four of the next
    bfloat16x8_t left, right;
  };
  struct Sum {  // two columns of a row, then of the next
    Float left, right;
  };

  template <bool Whole>
  static Columns load(const Weight* from, int64_t pitch) {
    const uint32x4_t first = vld1q_u32(from), second = Whole ? vld1q_u32(from + pitch) : vdupq_n_u32(0);
    return {vreinterpretq_bf16_u32(vzip1q_u32(first, second)), vreinterpretq_bf16_u32(vzip2q_u32(first, second))};
  }
  static bfloat16x8_t broadcast(const Input& x) { return vreinterpretq_bf16_u32(vld1q_u32(x.pairs)); }
  static Sum multiply_add(Sum sum, bfloat16x8_t x, Columns w) {
    return {vbfmmlaq_f32(sum.left, x, w.left), vbfmmlaq_f32(sum.right, x, w.right)};
  }
  static Float row(Sum sum, int index) {
    const float64x2_t left = vreinterpretq_f64_f32(sum.left), right = vreinterpretq_f64_f32(sum.right);
    return vreinterpretq_f32_f64(index == 0 ? vzip1q_f64(left, right) : vzip2q_f64(left, right));
  }

  static const Input* prepare(const float* x, int64_t pitch, int64_t count, int64_t size, float* buffer) {
    auto* to = reinterpret_cast<Input*>(buffer);
    for (int64_t row = 0; row < count; row += block_rows) {
      const float *first = x + row * pitch, *second = row + 1 < count ? first + pitch : nullptr;
      int64_t k = 0;
      for (; k + Lanes::width <= size; k += Lanes::width)
        round(Lanes::load(first + k), second != nullptr ? Lanes::load(second + k) : Float{}, *to++);
      const auto lanes = static_cast<int>(size - k);
      if (lanes > 0)
        round(vim_scan::load_lanes<Lanes, false>(first + k, lanes),
              second != nullptr ? vim_scan::load_lanes<Lanes, false>(second + k, lanes) : Float{}, *to++);
    }
    return reinterpret_cast<const Input*>(buffer);
  }
  static int64_t input_pitch(int64_t, int64_t size) { return blocks(size, panel_rows * panel_depth); }

 private:
  static void round(Float first, Float second, Input& to) {
    const bfloat16x8_t both = vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(first), second);
    vst1q_u32(to.pairs, vreinterpretq_u32_bf16(both));
  }
};

}  // namespace

constexpr Kernels kNeonBFloat16 = kernels_of<vim_scan::Neon, NativeBFloat16, Int8Pairs<vim_scan::Neon>, BFloat16<vim_scan::Neon>>("neon_bf16");

}  // namespace vim_fused
