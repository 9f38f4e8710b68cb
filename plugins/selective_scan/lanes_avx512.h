// Sixteen lanes; compiled with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma.
#pragma once

#include <immintrin.h>

#include "lanes.h"

namespace vim_scan {
namespace {

// The masked forms with every lane chosen compile to the plain instructions; GCC 12 warns about the unmasked
// intrinsics of its own header.
struct Avx512 : Lanes<16, Avx512> {
  static constexpr __mmask16 all = 0xffff;

  // Of a NaN and a number these instructions, too, give the second operand.
  static Float larger(Float x, Float y) { return _mm512_mask_max_ps(x, all, x, y); }
  static Float smaller(Float x, Float y) { return _mm512_mask_min_ps(x, all, x, y); }

  // Rounding and scaling by a power of two are instructions here, which reach 0, infinity and NaN by themselves.
  static constexpr bool clamps = false;
  template <bool Clamped, int K>
  static void exp2(Float (&x)[K]) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    Float i[K];
    for (int k = 0; k < K; ++k) {
      i[k] = _mm512_mask_roundscale_ps(x[k], all, x[k], nearest);
      x[k] -= i[k];
    }
    fraction_power(x);
    for (int k = 0; k < K; ++k) x[k] = _mm512_mask_scalef_ps(x[k], all, x[k], i[k]);
  }
};

}  // namespace
}  // namespace vim_scan
