// Arithmetic on vectors of any width. Each instruction set's file includes this header and compiles it with that set's
// flags, so everything here has internal linkage: if the linker merged copies, unsupported instructions could run on a
// CPU. For the same reason no standard header with inline functions is included.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vim_scan {
namespace {

using std::int16_t;
using std::int32_t;
using std::int64_t;

constexpr float kLog2E = 1.44269504f;

// Arithmetic on W lanes. `Self`, an instruction set's class, derives from it and overrides what it has instructions
// for.
template <int W, class Self>
struct Lanes {
  static constexpr int width = W;
  static constexpr int registers = 16;   // of vectors
  static constexpr int interleaved = 2;  // states whose exponentials are computed interleaved
  static constexpr float safe_exponent = 126.0f;  // exponents of 2 up to this size need no clamping
  using Reduced = Self;  // the lanes with less accurate functions, for engines with matmuls in reduced precision
  typedef float Float __attribute__((vector_size(W * sizeof(float))));
  typedef int32_t Int __attribute__((vector_size(W * sizeof(int32_t))));
  typedef int16_t Halves __attribute__((vector_size(W * sizeof(int32_t))));  // two per lane

  static Float load(const float* from) {
    Float x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
  }
  static void store(float* to, Float x) { __builtin_memcpy(to, &x, sizeof x); }
  static Float splat(float x) { return x - Float{}; }
  static Int bits(Float x) { return reinterpret_cast<Int>(x); }
  static Float from_bits(Int x) { return reinterpret_cast<Float>(x); }

  // If the second is NaN, so is the result; if only the first is NaN, the result is the second or NaN.
  static Float larger(Float x, Float y) { return x > y ? x : y; }
  static Float smaller(Float x, Float y) { return x < y ? x : y; }
  // A NaN in x propagates.
  static Float at_least(Float x, float low) { return Self::larger(splat(low), x); }
  static Float at_most(Float x, float high) { return Self::smaller(splat(high), x); }
  static Float magnitude(Float x) { return from_bits(bits(x) & 0x7fffffff); }

  // The nearest integer, ties to even, for |x| below 2^22.
  static Int nearest(Float x) {
    constexpr float shift = 12582912.0f;  // 1.5 * 2^23
    // Opaque: a fused multiply-add with the factors of x would round differently.
    asm("" : "+m"(x));
    return bits(x + splat(shift)) - bits(splat(shift));
  }

  // The dot product of the two 16-bit halves of each lane, in 32 bits.
  static Int multiply_pairs(Halves x, Halves y) {
    const Int a = reinterpret_cast<Int>(x), b = reinterpret_cast<Int>(y);
    return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
  }

  // 2^x as p * 2^i, i the integer nearest to x. Adding kShift leaves i + 127 in the lowest bits of the sum,
  // which shifted left by 23 are the float 2^i: 0 for i = -127, infinity for i = 128, where x is clamped.
  static constexpr float kShift = 12582912.0f + 127.0f;  // 1.5 * 2^23 + bias
  static Float power_of_two(Float shifted) { return from_bits(bits(shifted) << 23); }

  // 2^f = 1 + kPower[0] * f + kPower[1] * f^2 + ... for |f| <= 0.5, relative error 1.1e-7 plus rounding. The first two
  // coefficients, 1 and ln 2, are exact, so that 2^0 = 1 and a long memory (f near 0, thousands of tokens) decays at
  // the right rate.
  static constexpr float kPower[] = {6.931471825e-1f, 2.402228117e-1f, 5.550559983e-2f, 9.669709019e-3f,
                                     1.330026425e-3f};
  template <int K>
  static void fraction_power(Float (&f)[K]) {
    Float p[K];
    for (int k = 0; k < K; ++k) p[k] = splat(kPower[4]) * f[k] + splat(kPower[3]);
    for (int k = 0; k < K; ++k) p[k] = p[k] * f[k] + splat(kPower[2]);
    for (int k = 0; k < K; ++k) p[k] = p[k] * f[k] + splat(kPower[1]);
    for (int k = 0; k < K; ++k) p[k] = p[k] * f[k] + splat(kPower[0]);
    for (int k = 0; k < K; ++k) f[k] = p[k] * f[k] + splat(1.0f);
  }

  // 2^x for K vectors, written step by step so that their instructions alternate; 0 below -126.5, infinity
  // above 127.5. Without `Clamped` every |x| must be at most safe_exponent or a NaN, and the result is the same.
  template <bool Clamped, int K>
  static void exp2(Float (&x)[K]) {
    Float shifted[K], f[K];
    for (int k = 0; k < K; ++k) {
      if (Clamped) x[k] = at_most(at_least(x[k], -127.0f), 128.0f);
      shifted[k] = x[k] + splat(kShift);
    }
    for (int k = 0; k < K; ++k) f[k] = x[k] - (shifted[k] - splat(kShift));
    fraction_power(f);
    for (int k = 0; k < K; ++k) x[k] = f[k] * power_of_two(shifted[k]);
  }

  // 2^(dt * rate) for K vectors of rates.
  template <bool Clamped, int K>
  static void decays(Float dt, const float* rate, Float (&decay)[K]) {
    for (int k = 0; k < K; ++k) decay[k] = dt * load(rate + k * W);
    Self::template exp2<Clamped>(decay);
  }

  // e^x with the argument reduced in two parts: unlike 2^(x * log2 e), its relative error is about 2e-7 also if x is
  // large and negative. 0 below -87.6, infinity above 88.4.
  static Float exponential(Float x) {
    x = at_most(at_least(x, -88.0f), 88.7f);
    const Float shifted = x * splat(kLog2E) + splat(kShift);
    const Float i = shifted - splat(kShift);
    // ln 2 = 0.693359375 - 2.12194440e-4; the first part has so few bits that its product with i is exact.
    const Float f = (x - i * splat(0.693359375f)) + i * splat(2.12194440e-4f);
    Float power[1] = {f * splat(kLog2E)};
    fraction_power(power);
    return power[0] * power_of_two(shifted);
  }

  // x / y for y from 1 to the maximum of `exponential`.
  static Float quotient(Float x, Float y) { return x / y; }

  // log(1 + e) for e from 0 to 1: 2 atanh(s), s = e / (2 + e) <= 1/3, whose odd series keeps the relative error of tiny e
  // small.
  static Float log_one_plus(Float e) {
    const Float s = Self::quotient(e, e + splat(2.0f));
    const Float q = s * s;
    Float p = splat(0.28011996f);
    p = p * q + splat(0.28001803f);
    p = p * q + splat(0.40021527f);
    p = p * q + splat(0.66666418f);
    p = p * q + splat(2.0f);
    return p * s;
  }

 protected:
  // log(1 + e) for e from 0 to 1 without a quotient, relative error 8.5e-6: for `Reduced`.
  static Float short_log_one_plus(Float e) {
    Float p = splat(-2.3869146e-2f);
    p = p * e + splat(1.0122227e-1f);
    p = p * e + splat(-2.1004868e-1f);
    p = p * e + splat(3.2520667e-1f);
    p = p * e + splat(-4.9936137e-1f);
    p = p * e + splat(9.9999160e-1f);
    return p * e;
  }
};

// factor * silu(x), silu(x) = x / (1 + e^-x)
template <class M>
typename M::Float silu(typename M::Float x, typename M::Float factor) {
  return M::quotient(x * factor, M::splat(1.0f) + M::exponential(-x));
}

// log(1 + e^x) = max(x, 0) + log(1 + e), e = e^-|x|. Above 17 the sum rounds to x. e is an argument so that callers can
// compute it in advance.
template <class M>
typename M::Float softplus(typename M::Float x, typename M::Float e) {
  return M::at_least(x, 0.0f) + M::log_one_plus(e);
}

// All lanes of a vector, or the first `lanes` with 0 in the others.
template <class M, bool Full>
typename M::Float load_lanes(const float* from, int lanes) {
  if (Full) return M::load(from);
  alignas(64) float padded[M::width] = {};
  for (int lane = 0; lane < lanes; ++lane) padded[lane] = from[lane];
  return M::load(padded);
}

template <class M, bool Full>
void store_lanes(float* to, typename M::Float x, int lanes) {
  if (Full) return M::store(to, x);
  alignas(64) float padded[M::width];
  M::store(padded, x);
  for (int lane = 0; lane < lanes; ++lane) to[lane] = padded[lane];
}

template <bool Value>
struct Constant {
  static constexpr bool value = Value;
};

// Calls work(channel, lanes, full) for each vector of a row; `full.value` is a compile-time constant.
template <class M, class Work>
void for_vectors(int64_t channels, const Work& work) {
  int64_t channel = 0;
  for (; channel + M::width <= channels; channel += M::width) work(channel, M::width, Constant<true>());
  if (channel < channels) work(channel, static_cast<int>(channels - channel), Constant<false>());
}

}  // namespace
}  // namespace vim_scan
