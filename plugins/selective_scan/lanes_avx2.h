// Eight lanes; compiled with -mavx2 -mfma.
#pragma once

#include <immintrin.h>

#include "lanes.h"

namespace vim_scan {
namespace {

struct ReducedAvx2;

struct Avx2 : Lanes<8, Avx2> {
  using Reduced = ReducedAvx2;

  // If one operand is NaN, these instructions return the second one, too.
  static Float larger(Float x, Float y) { return _mm256_max_ps(x, y); }
  static Float smaller(Float x, Float y) { return _mm256_min_ps(x, y); }
  static Int nearest(Float x) { return reinterpret_cast<Int>(_mm256_cvtps_epi32(x)); }
  static Int multiply_pairs(Halves x, Halves y) {
    return reinterpret_cast<Int>(_mm256_madd_epi16(reinterpret_cast<__m256i>(x), reinterpret_cast<__m256i>(y)));
  }
};

// With powers by 2^x = 2^i * 2^(j/8) * c * ((f + a)^2 + b), a = 1 / ln 2, |f| <= 1/16: four multiplications fewer, relative
// error 1.4e-5. Value and slope at 0 are those of 2^x, except for rounding.
struct ReducedAvx2 : Avx2 {
  static constexpr float safe_exponent = 120.0f;  // the table contains c

  template <bool Clamped, int K>
  static void decays(Float dt, const float* rate, Float (&x)[K]) {
    if (Clamped) return Avx2::decays<Clamped>(dt, rate, x);
    for (int k = 0; k < K; ++k) x[k] = dt * load(rate + k * width);
    for (int k = 0; k < K; ++k) asm("" : "+x"(x[k]));  // otherwise the compiler would repeat the multiplication
    short_exp2(x);
  }

  // 2^-120 for x <= -83.2, 2^120 for x >= 83.2.
  static Float exponential(Float x) {
    Float power[1] = {at_most(at_least(x * splat(kLog2E), -safe_exponent), safe_exponent)};
    short_exp2(power);
    return power[0];
  }
  static Float log_one_plus(Float e) { return short_log_one_plus(e); }

 private:
  template <int K>
  static void short_exp2(Float (&x)[K]) {
    constexpr float eighths = 1572864.0f;  // 1.5 * 2^20: adding it leaves 8 * i + j in the lowest bits of the sum
    constexpr float a = 1.44269504f, b = 2.08136898f;
    // The bits of c * 2^(j/8) minus those that j adds when the sum's bits are shifted.
    constexpr Int table = {
        0x3e75fdf0, 0x3e7620c8, 0x3e724487, 0x3e6f818c, 0x3e6df14c, 0x3e6daf8b, 0x3e6eda8f, 0x3e71935b};
    Float power[K];
    for (int k = 0; k < K; ++k) power[k] = x[k] + splat(eighths);
    for (int k = 0; k < K; ++k) x[k] = (x[k] - (power[k] - splat(eighths))) + splat(a);
    for (int k = 0; k < K; ++k) {
      const __m256i entry =
          _mm256_permutevar8x32_epi32(reinterpret_cast<__m256i>(table), reinterpret_cast<__m256i>(power[k]));
      power[k] = from_bits(reinterpret_cast<Int>(entry) + (bits(power[k]) << 20));
    }
    for (int k = 0; k < K; ++k) x[k] = power[k] * (x[k] * x[k] + splat(b));
  }
};

}  // namespace
}  // namespace vim_scan
