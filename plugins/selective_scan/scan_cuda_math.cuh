// Element types and transcendental functions of the CUDA scan. The tests also compile this file for the CPU, with a
// shim that defines CUDA's built-in names.
#pragma once

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include <cstdint>

// With k > 0, every k-th decay exp(dt * A) is computed on the FMA pipe instead of the special-function unit; 0: none.
// docs/cuda-kernel.md explains the default.
#ifndef VIM_SCAN_POLYNOMIAL_EVERY
#define VIM_SCAN_POLYNOMIAL_EVERY 0
#endif

namespace vim_scan {

constexpr float kLog2E = 1.44269504089f;

// 2^x on the special-function unit; subnormal results are flushed to zero. Maximum error: 2 units in the last place.
__device__ __forceinline__ float exp2_special(float x) {
#if defined(__CUDACC__)
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#else
  return exp2f(x);
#endif
}

// 2^x with a polynomial in the fraction; relative error 2e-7, smallest result 2^-126, infinity for x >= 128.
__device__ __forceinline__ float exp2_polynomial(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded value in the low bits
  x = fminf(fmaxf(x, -126.0f), 128.0f);
  const float shifted = x + kRound;
  const float fraction = x - (shifted - kRound);
  float power = 0.00132764713f;
  power = fmaf(power, fraction, 0.00967554096f);
  power = fmaf(power, fraction, 0.0555071309f);
  power = fmaf(power, fraction, 0.240221202f);
  power = fmaf(power, fraction, 0.693146944f);
  power = fmaf(power, fraction, 1.0f);
  return __uint_as_float(__float_as_uint(power) + (__float_as_uint(shifted) << 23));
}

// The decay 2^x of state update `index` in an unrolled loop, where `index` is a compile-time constant.
__device__ __forceinline__ float decay(float x, int index) {
  constexpr int kEvery = VIM_SCAN_POLYNOMIAL_EVERY;
  if (kEvery > 0 && index % (kEvery > 0 ? kEvery : 1) == kEvery - 1) return exp2_polynomial(x);
  return exp2_special(x);
}

// log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|)), which does not overflow. The special-function unit's log2 would lose
// the digits of small results. The polynomial is log1p(e) / e on [0, 1], relative error 2e-7.
__device__ __forceinline__ float softplus(float x) {
  const float e = exp2_special(-kLog2E * fabsf(x));
  float ratio = 0.0052326913f;
  ratio = fmaf(ratio, e, -0.0295052268f);
  ratio = fmaf(ratio, e, 0.078225933f);
  ratio = fmaf(ratio, e, -0.136632442f);
  ratio = fmaf(ratio, e, 0.191060066f);
  ratio = fmaf(ratio, e, -0.24842982f);
  ratio = fmaf(ratio, e, 0.333190978f);
  ratio = fmaf(ratio, e, -0.499994934f);
  ratio = fmaf(ratio, e, 0.99999994f);
  // fmaxf drops a NaN; e propagates it.
  return fmaf(e, ratio, fmaxf(x, 0.0f));
}

// x / (1 + exp(-x)).
__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0f + exp2_special(-kLog2E * x)); }

// Element types: conversion of an element's bits to float and back.
struct Float32 {
  using Bits = std::uint32_t;
  static __device__ __forceinline__ float to_float(Bits bits) { return __uint_as_float(bits); }
  static __device__ __forceinline__ Bits from_float(float value) { return __float_as_uint(value); }
};

struct Float16 {
  using Bits = std::uint16_t;
  static __device__ __forceinline__ float to_float(Bits bits) { return __half2float(__ushort_as_half(bits)); }
  static __device__ __forceinline__ Bits from_float(float value) { return __half_as_ushort(__float2half_rn(value)); }
};

struct BFloat16 {
  using Bits = std::uint16_t;
  static __device__ __forceinline__ float to_float(Bits bits) {
    return __uint_as_float(static_cast<std::uint32_t>(bits) << 16);
  }
  static __device__ __forceinline__ Bits from_float(float value) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  }
};

}  // namespace vim_scan
