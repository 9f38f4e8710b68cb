// Sixteen lanes; compiled with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma.
#pragma once

#include <immintrin.h>

#include "lanes.h"

namespace vim_scan {
namespace {

// The masked intrinsics with all lanes selected compile to the unmasked instructions; for the unmasked intrinsics,
// GCC 12 warns about its own header.
struct ReducedAvx512;

struct Avx512 : Lanes<16, Avx512> {
  using Reduced = ReducedAvx512;
  static constexpr int registers = 32;
  static constexpr __mmask16 all = 0xffff;

  // If one operand is NaN, these instructions return the second one, too.
  static Float larger(Float x, Float y) { return _mm512_mask_max_ps(x, all, x, y); }
  static Float smaller(Float x, Float y) { return _mm512_mask_min_ps(x, all, x, y); }
  static Int nearest(Float x) { return reinterpret_cast<Int>(_mm512_maskz_cvtps_epi32(all, x)); }
  static Int multiply_pairs(Halves x, Halves y) {
    return reinterpret_cast<Int>(_mm512_madd_epi16(reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(y)));
  }

  // `Clamped` needs no clamping here: the instructions that round and scale by a power of two return 0, infinity and
  // NaN where needed. The other form is faster and differs only by rounding.
  template <bool Clamped, int K>
  static void exp2(Float (&x)[K]) {
    if (Clamped)
      scaled_exp2(x);
    else
      table_exp2(x);
  }

  // As for the other widths; 1e-38 for x <= -87.9, 2e37 for x >= 86.
  static Float exponential(Float x) {
    x = at_most(at_least(x, -87.9f), 86.0f);
    const Float shifted = x * splat(kLog2E) + splat(kSixteenths);
    const Float i = shifted - splat(kSixteenths);
    // ln 2 in two parts, as in Lanes::exponential.
    const Float f = (x - i * splat(0.693359375f)) + i * splat(2.12194440e-4f);
    const Float power = scaled_table(shifted);
    const Float p = (splat(1.666666667e-1f) * f + splat(0.5f)) * f + splat(1.0f);
    return power * f * p + power;
  }

  // One step of Newton's method doubles the estimate's 14 bits.
  static Float quotient(Float x, Float y) {
    const Float estimate = _mm512_maskz_rcp14_ps(all, y);
    return x * (estimate * (splat(1.0f) - y * estimate) + estimate);
  }

 protected:
  // 2^x = 2^i * 2^(j/16) * 2^f with |f| <= 1/32. Adding kSixteenths leaves 16 * i + j in the lowest bits of the sum.
  static constexpr float kSixteenths = 786432.0f;  // 1.5 * 2^19

  // 2^i * 2^(j/16). The table contains the bits of 2^(j/16) minus those that j adds when the sum's bits are shifted.
  static Float scaled_table(Float shifted) {
    constexpr Int table = {
        0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
        0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
    return scaled_entry(table, shifted);
  }
  static Float scaled_entry(Int table, Float shifted) {
    const __m512i entry = _mm512_maskz_permutexvar_epi32(all, reinterpret_cast<__m512i>(shifted),
                                                         reinterpret_cast<__m512i>(table));
    return from_bits(reinterpret_cast<Int>(entry) + (bits(shifted) << 19));
  }

  // Relative error 1e-8 plus rounding; value and slope at 0 are exact.
  template <int K>
  static void table_exp2(Float (&x)[K]) {
    Float power[K], p[K];
    // Makes x opaque: otherwise the compiler would repeat the multiplication of its factors in both sums below, and
    // multiplications are the bottleneck.
    for (int k = 0; k < K; ++k) asm("" : "+v"(x[k]));
    for (int k = 0; k < K; ++k) power[k] = x[k] + splat(kSixteenths);
    for (int k = 0; k < K; ++k) x[k] -= power[k] - splat(kSixteenths);
    for (int k = 0; k < K; ++k) power[k] = scaled_table(power[k]);
    for (int k = 0; k < K; ++k) p[k] = splat(5.550410866e-2f) * x[k] + splat(2.402265070e-1f);
    for (int k = 0; k < K; ++k) p[k] = p[k] * x[k] + splat(6.931471825e-1f);
    for (int k = 0; k < K; ++k) x[k] = power[k] * x[k] * p[k] + power[k];
  }

  template <int K>
  static void scaled_exp2(Float (&x)[K]) {
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

// With powers by 2^x = 2^i * 2^(j/16) * c * ((f + a)^2 + b), |f| <= 1/32: two multiplications fewer, relative error 2.6e-6
// plus rounding. Value and slope at 0 are those of 2^x, except for rounding. a is near 1 / ln 2, the best one, and a
// multiple of 1/16, so that f + a needs no further addition.
struct ReducedAvx512 : Avx512 {
  static constexpr float safe_exponent = 120.0f;  // the table contains c

  template <bool Clamped, int K>
  static void decays(Float dt, const float* rate, Float (&x)[K]) {
    if (Clamped) return Avx512::decays<Clamped>(dt, rate, x);
    for (int k = 0; k < K; ++k) x[k] = dt * load(rate + k * width);
    for (int k = 0; k < K; ++k) asm("" : "+v"(x[k]));  // as in table_exp2
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
    constexpr Int table = {
        0x3e76e186, 0x3e78e7d9, 0x3e769ce0, 0x3e749296, 0x3e72cbd9, 0x3e714ba7, 0x3e70151e, 0x3e6f2b81,
        0x3e6e9239, 0x3e6e4cd4, 0x3e6e5f09, 0x3e6eccb8, 0x3e6f99ef, 0x3e70cae8, 0x3e72640d, 0x3e7469fc};
    constexpr float a = 1.4375f, b = 2.08134199f;
    Float power[K];
    for (int k = 0; k < K; ++k) power[k] = x[k] + splat(kSixteenths);
    for (int k = 0; k < K; ++k) x[k] -= power[k] - splat(kSixteenths + a);
    for (int k = 0; k < K; ++k) x[k] = scaled_entry(table, power[k]) * (x[k] * x[k] + splat(b));
  }
};

}  // namespace
}  // namespace vim_scan
