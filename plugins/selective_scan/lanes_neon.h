// Four lanes of 64-bit Arm CPUs, with the instructions that all of them have.
#pragma once

#include <arm_neon.h>

#include "lanes.h"

namespace vim_scan {
namespace {

struct Neon : Lanes<4, Neon> {
  static constexpr int registers = 32;
  static constexpr int interleaved = 4;

  // If one operand is NaN, so is the result.
  static Float larger(Float x, Float y) { return vmaxq_f32(x, y); }
  static Float smaller(Float x, Float y) { return vminq_f32(x, y); }

  // Fused multiply-add replaces its addend with the result. For a sum with a constant the compiler would keep the
  // constant in a register and copy it, which occupies the pipes of the arithmetic: here each sum loads it instead.
  // `Clamped` changes no bits of exponents up to kSafeExponent.
  template <bool Clamped, int K>
  static void decays(Float dt, const float* rate, Float (&decay)[K]) {
    alignas(16) static constexpr Four shift = four(kShift);
    alignas(16) static constexpr Four terms[] = {four(kPower[0]), four(kPower[1]), four(kPower[2]), four(kPower[3])};
    Float shifted[K], f[K], p[K];
    for (int k = 0; k < K; ++k) {
      shifted[k] = vfmaq_f32(load_again(shift), dt, load(rate + k * width));
      if (Clamped) shifted[k] = at_most(at_least(shifted[k], kShift - 127.0f), kShift + 128.0f);
    }
    for (int k = 0; k < K; ++k) {
      f[k] = vfmaq_f32(splat(kShift) - shifted[k], dt, load(rate + k * width));
      if (Clamped) f[k] = at_most(at_least(f[k], -0.5f), 0.5f);
    }
    for (int k = 0; k < K; ++k) p[k] = vfmaq_f32(load_again(terms[3]), f[k], splat(kPower[4]));
    for (int term = 2; term >= 0; --term)
      for (int k = 0; k < K; ++k) p[k] = vfmaq_f32(load_again(terms[term]), f[k], p[k]);
    for (int k = 0; k < K; ++k) p[k] = p[k] * f[k];
    for (int k = 0; k < K; ++k) decay[k] = power_of_two(shifted[k]);
    for (int k = 0; k < K; ++k) {
      if (Clamped) {
        asm("" : "+w"(p[k]));  // otherwise its multiplication would be fused with the addition
        decay[k] = (p[k] + splat(1.0f)) * decay[k];
      } else {
        decay[k] = vfmaq_f32(decay[k], decay[k], p[k]);  // one constant less, but NaN if 2^i is infinite
      }
    }
  }

 private:
  struct Four {
    float lanes[4];
  };
  static constexpr Four four(float x) { return {{x, x, x, x}}; }
  static Float load_again(const Four& from) {
    Float x;
    asm volatile("ldr %q0, %1" : "=w"(x) : "m"(from));
    return x;
  }
};

}  // namespace
}  // namespace vim_scan
