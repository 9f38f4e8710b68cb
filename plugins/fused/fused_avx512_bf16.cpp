// Sixteen lanes with bfloat16 matmul instructions; compiled like fused_avx512_vnni.cpp, and with -mavx512bf16.
#include "lanes_avx512.h"
#include "fused_kernel.h"
#include "dot_avx512.h"

namespace vim_fused {
namespace {

// Like BFloat16, with the dot product instructions for bfloat16. They treat values below 2^-126 as 0.
struct NativeBFloat16 : SingleRows<vim_scan::Avx512> {
  using Input = uint32_t;
  using Weight = uint32_t;
  static constexpr int panel_depth = 2;
  static constexpr int rows = 8;

  template <bool>
  static __m512i load(const Weight* from, int64_t) {
    return _mm512_loadu_si512(from);
  }
  static __m512i broadcast(Input x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static Float multiply_add(Float sum, __m512i x, __m512i w) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w));
  }

  static const Input* prepare(const float* x, int64_t pitch, int64_t count, int64_t size, float* buffer) {
    const int64_t padded = input_pitch(pitch, size) * 2;
    auto* rounded_rows = reinterpret_cast<unsigned short*>(buffer);
    for (int64_t row = 0; row < count; ++row) {
      const float* from = x + row * pitch;
      unsigned short* to = rounded_rows + row * padded;
      int64_t k = 0;
      for (; k + 2 * Lanes::width <= size; k += 2 * Lanes::width) {
        const __m512bh rounded = _mm512_cvtne2ps_pbh(Lanes::load(from + k + Lanes::width), Lanes::load(from + k));
        __builtin_memcpy(to + k, &rounded, sizeof rounded);
      }
      for (; k < padded; k += Lanes::width) {
        const int64_t readable = size - k < Lanes::width ? size - k : Lanes::width;
        const int64_t writable = padded - k < Lanes::width ? padded - k : Lanes::width;
        const auto read_mask = static_cast<__mmask16>((1u << readable) - 1u);
        const auto write_mask = static_cast<__mmask16>((1u << writable) - 1u);
        const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(read_mask, from + k));
        _mm256_mask_storeu_epi16(to + k, write_mask, reinterpret_cast<__m256i>(rounded));
      }
    }
    return reinterpret_cast<const Input*>(buffer);
  }
  static int64_t input_pitch(int64_t, int64_t size) { return blocks(size, panel_depth); }
};

}  // namespace

constexpr Kernels kAvx512BFloat16 = kernels_of<vim_scan::Avx512, NativeBFloat16, Int8Dot<DotAvx512>>("avx512_bf16");

}  // namespace vim_fused
