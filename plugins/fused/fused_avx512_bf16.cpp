// Sixteen lanes with products of bfloat16 numbers; compiled like fused_avx512.cpp and with -mavx512bf16.
#include "lanes_avx512.h"
#include "fused_kernel.h"

namespace vim_fused {
namespace {

// As Bfloat16, by the instructions for it: pairs of numbers multiplied and added up at once. Numbers below 2^-126
// count as 0.
struct NativeBfloat16 {
  using Lanes = vim_scan::Avx512;
  using Float = Lanes::Float;
  using Left = uint32_t;
  using Right = uint32_t;
  static constexpr int depth = 2;
  static constexpr int rows = 8;

  static __m512i load(const Right* from) { return _mm512_loadu_si512(from); }
  static __m512i spread(Left x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static Float add_product(Float sum, __m512i x, __m512i w) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w));
  }

  static const Left* left(const float* x, int64_t pitch, int64_t count, int64_t size, float* buffer) {
    const int64_t padded = left_pitch(pitch, size) * 2;
    auto* halves = reinterpret_cast<unsigned short*>(buffer);
    for (int64_t row = 0; row < count; ++row) {
      const float* from = x + row * pitch;
      unsigned short* to = halves + row * padded;
      int64_t k = 0;
      for (; k + 2 * Lanes::width <= size; k += 2 * Lanes::width) {
        const __m512bh rounded = _mm512_cvtne2ps_pbh(Lanes::load(from + k + Lanes::width), Lanes::load(from + k));
        __builtin_memcpy(to + k, &rounded, sizeof rounded);
      }
      for (; k < padded; k += Lanes::width) {
        const int64_t wanted = size - k < Lanes::width ? size - k : Lanes::width;
        const int64_t written = padded - k < Lanes::width ? padded - k : Lanes::width;
        const auto here = static_cast<__mmask16>((1u << wanted) - 1u);
        const auto there = static_cast<__mmask16>((1u << written) - 1u);
        const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(here, from + k));
        _mm256_mask_storeu_epi16(to + k, there, reinterpret_cast<__m256i>(rounded));
      }
    }
    return reinterpret_cast<const Left*>(buffer);
  }
  static int64_t left_pitch(int64_t, int64_t size) { return blocks(size, depth); }
};

}  // namespace

constexpr Kernels kAvx512Bfloat16 = kernels_of<vim_scan::Avx512, NativeBfloat16>("avx512_bf16");

}  // namespace vim_fused
