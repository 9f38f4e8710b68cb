// CausalConvPair on a GPU: the work of one thread, which computes both directions of its channels and tokens.
#pragma once

#include "pair_cuda_plan.h"
#include "scan_cuda_rows.cuh"

namespace vim_fused {

using namespace vim_scan;

// The thread's channels, as float32.
struct ConvValues {
  float channel[kConvChannels];
};

__device__ __forceinline__ ConvValues conv_constants(const float* from, int count) {
  ConvValues values;
#pragma unroll
  for (int c = 0; c < kConvChannels; ++c) values.channel[c] = c < count ? from[c] : 0.0f;
  return values;
}

// The tokens first .. first + kConvTokens + 2 * (width - 1) - 1 of x, of which the outputs are in the middle. With
// kWidth, the width is known at compile time and the tokens stay in registers.
template <class Element, int kWidth>
struct ConvWindow {
  ConvValues token[kConvTokens + 2 * (kWidth - 1)];
};

template <class Element>
__device__ __forceinline__ ConvValues conv_load(const typename Element::Bits* row, bool exists, bool wide, int count) {
  Run<Element, kConvChannels> run;
  clear(run);
  if (exists) {
    if (wide) {
      load_wide(run, row);
    } else {
      load_some(run, row, count);
    }
  }
  ConvValues values;
#pragma unroll
  for (int c = 0; c < kConvChannels; ++c) values.channel[c] = get(run, c);
  return values;
}

template <class Element>
__device__ __forceinline__ void conv_store(typename Element::Bits* to, const ConvValues& sums, bool wide, int count) {
  Run<Element, kConvChannels> run;
  clear(run);
#pragma unroll
  for (int c = 0; c < kConvChannels; ++c) put_bits(run, c, Element::from_float(silu(sums.channel[c])));
  if (wide) {
    store_wide(run, to);
  } else {
    store_some(run, to, count);
  }
}

__device__ __forceinline__ void conv_add(ConvValues& sums, const ConvValues& taps, const ConvValues& x) {
#pragma unroll
  for (int c = 0; c < kConvChannels; ++c) sums.channel[c] = fmaf(taps.channel[c], x.channel[c], sums.channel[c]);
}

// A thread's place: its channels, and the row of x and u that belongs to token 0 of the batch element.
template <class Element>
struct ConvPlace {
  const typename Element::Bits* x;
  std::int64_t u;  // offset in each u
  int first;       // token
  int channel, count;

  __device__ __forceinline__ explicit ConvPlace(const ConvKernelArguments& arguments) {
    const CudaConvPair& conv = arguments.conv;
    const std::uint32_t row = blockIdx.x / arguments.channel_tiles;
    const std::uint32_t tile = blockIdx.x - row * arguments.channel_tiles;
    const std::int64_t batch = row / arguments.token_tiles;
    first = static_cast<int>(row % arguments.token_tiles) * kConvTokens;
    channel = (static_cast<int>(tile) * kConvThreads + static_cast<int>(threadIdx.x)) * kConvChannels;
    count = static_cast<int>(conv.channels) - channel;
    x = static_cast<const typename Element::Bits*>(conv.xz) + batch * conv.length * 2 * conv.channels + channel;
    u = batch * conv.length * conv.channels + channel;
  }
};

// A width that is known at compile time.
template <class Element, int kWidth>
__device__ __forceinline__ void conv_thread(const ConvKernelArguments& arguments) {
  const CudaConvPair& conv = arguments.conv;
  const ConvPlace<Element> place(arguments);
  if (place.count <= 0) return;
  const int length = static_cast<int>(conv.length);
  ConvWindow<Element, kWidth> window;
#pragma unroll
  for (int i = 0; i < kConvTokens + 2 * (kWidth - 1); ++i) {
    const int token = place.first - (kWidth - 1) + i;
    window.token[i] = conv_load<Element>(place.x + std::int64_t{token} * 2 * conv.channels,
                                         token >= 0 && token < length, arguments.wide, place.count);
  }
#pragma unroll
  for (int direction = 0; direction < 2; ++direction) {
    const CudaConvPair::Direction& own = conv.directions[direction];
    const ConvValues bias = conv_constants(own.bias + place.channel, place.count);
    ConvValues taps[kWidth];
#pragma unroll
    for (int k = 0; k < kWidth; ++k) taps[k] = conv_constants(own.taps + k * conv.channels + place.channel, place.count);
#pragma unroll
    for (int i = 0; i < kConvTokens; ++i) {
      if (place.first + i >= length) break;
      ConvValues sums = bias;
#pragma unroll
      for (int k = 0; k < kWidth; ++k) conv_add(sums, taps[k], window.token[i + k + direction * (kWidth - 1)]);
      conv_store<Element>(static_cast<typename Element::Bits*>(own.u) + place.u +
                              std::int64_t{place.first + i} * conv.channels,
                          sums, arguments.wide, place.count);
    }
  }
}

// Any width.
template <class Element>
__device__ __forceinline__ void conv_thread_any(const ConvKernelArguments& arguments) {
  const CudaConvPair& conv = arguments.conv;
  const ConvPlace<Element> place(arguments);
  if (place.count <= 0) return;
  const int length = static_cast<int>(conv.length), width = static_cast<int>(conv.width);
#pragma unroll
  for (int direction = 0; direction < 2; ++direction) {
    const CudaConvPair::Direction& own = conv.directions[direction];
    for (int i = 0; i < kConvTokens && place.first + i < length; ++i) {
      ConvValues sums = conv_constants(own.bias + place.channel, place.count);
      for (int k = 0; k < width; ++k) {
        const int token = place.first + i + k - (direction == 0 ? width - 1 : 0);
        const ConvValues x = conv_load<Element>(place.x + std::int64_t{token} * 2 * conv.channels,
                                                token >= 0 && token < length, arguments.wide, place.count);
        conv_add(sums, conv_constants(own.taps + k * conv.channels + place.channel, place.count), x);
      }
      conv_store<Element>(static_cast<typename Element::Bits*>(own.u) + place.u +
                              std::int64_t{place.first + i} * conv.channels,
                          sums, arguments.wide, place.count);
    }
  }
}

}  // namespace vim_fused
