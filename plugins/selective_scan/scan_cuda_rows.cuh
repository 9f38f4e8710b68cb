// Loads and stores of adjacent elements between memory and registers, with the widest access possible.
#pragma once

#include "scan_cuda_math.cuh"

namespace vim_scan {

// kCount adjacent elements, packed into registers as in memory.
template <class Element, int kCount>
struct Run {
  static constexpr int kPerWord = 4 / static_cast<int>(sizeof(typename Element::Bits));
  static constexpr int kWords = (kCount + kPerWord - 1) / kPerWord;
  std::uint32_t words[kWords];
};

template <class Element, int kCount>
__device__ __forceinline__ void clear(Run<Element, kCount>& run) {
  run = Run<Element, kCount>{};  // a loop here sends the array to local memory on sm_100 and sm_120
}

template <class Element, int kCount>
__device__ __forceinline__ float get(const Run<Element, kCount>& run, int index) {
  constexpr int kPerWord = Run<Element, kCount>::kPerWord;
  const std::uint32_t word = run.words[index / kPerWord];
  return Element::to_float(static_cast<typename Element::Bits>(word >> (index % kPerWord * (32 / kPerWord))));
}

// The element must be zero before.
template <class Element, int kCount>
__device__ __forceinline__ void put_bits(Run<Element, kCount>& run, int index, typename Element::Bits bits) {
  constexpr int kPerWord = Run<Element, kCount>::kPerWord;
  run.words[index / kPerWord] |= static_cast<std::uint32_t>(bits) << (index % kPerWord * (32 / kPerWord));
}

// Loads the whole run; `from` must be aligned to the size of the run, at most 16 bytes.
template <class Element, int kCount>
__device__ __forceinline__ void load_wide(Run<Element, kCount>& run, const typename Element::Bits* from) {
  constexpr int kBytes = kCount * static_cast<int>(sizeof(typename Element::Bits));
  if constexpr (kBytes % 16 == 0) {
#pragma unroll
    for (int i = 0; i < kBytes / 16; ++i) {
      const uint4 four = __ldg(reinterpret_cast<const uint4*>(from) + i);
      run.words[4 * i] = four.x;
      run.words[4 * i + 1] = four.y;
      run.words[4 * i + 2] = four.z;
      run.words[4 * i + 3] = four.w;
    }
  } else if constexpr (kBytes == 8) {
    const uint2 two = __ldg(reinterpret_cast<const uint2*>(from));
    run.words[0] = two.x;
    run.words[1] = two.y;
  } else if constexpr (kBytes == 4) {
    run.words[0] = __ldg(reinterpret_cast<const std::uint32_t*>(from));
  } else {
    static_assert(kBytes == 2, "the size of a run must be a power of two");
    run.words[0] = __ldg(from);
  }
}

// Loads the first `count` elements one by one; the others are set to zero.
template <class Element, int kCount>
__device__ __forceinline__ void load_some(Run<Element, kCount>& run, const typename Element::Bits* from, int count) {
  clear(run);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < count) put_bits(run, i, __ldg(from + i));
  }
}

template <class Element, int kCount>
__device__ __forceinline__ void store_wide(const Run<Element, kCount>& run, typename Element::Bits* to) {
  constexpr int kBytes = kCount * static_cast<int>(sizeof(typename Element::Bits));
  if constexpr (kBytes % 16 == 0) {
#pragma unroll
    for (int i = 0; i < kBytes / 16; ++i) {
      reinterpret_cast<uint4*>(to)[i] =
          make_uint4(run.words[4 * i], run.words[4 * i + 1], run.words[4 * i + 2], run.words[4 * i + 3]);
    }
  } else if constexpr (kBytes == 8) {
    *reinterpret_cast<uint2*>(to) = make_uint2(run.words[0], run.words[1]);
  } else if constexpr (kBytes == 4) {
    *reinterpret_cast<std::uint32_t*>(to) = run.words[0];
  } else {
    *to = static_cast<typename Element::Bits>(run.words[0]);
  }
}

template <class Element, int kCount>
__device__ __forceinline__ void store_some(const Run<Element, kCount>& run, typename Element::Bits* to, int count) {
  constexpr int kPerWord = Run<Element, kCount>::kPerWord;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < count) {
      to[i] = static_cast<typename Element::Bits>(run.words[i / kPerWord] >> (i % kPerWord * (32 / kPerWord)));
    }
  }
}

// Loads kCount floats; `from` must be aligned to 4 * kCount bytes, at most 16.
template <int kCount>
__device__ __forceinline__ void load_floats(float (&to)[kCount], const float* from) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount / 4; ++i) {
      const float4 four = reinterpret_cast<const float4*>(from)[i];
      to[4 * i] = four.x;
      to[4 * i + 1] = four.y;
      to[4 * i + 2] = four.z;
      to[4 * i + 3] = four.w;
    }
  } else if constexpr (kCount == 2) {
    const float2 two = *reinterpret_cast<const float2*>(from);
    to[0] = two.x;
    to[1] = two.y;
  } else {
    static_assert(kCount == 1, "kCount must be 1, 2 or a multiple of 4");
    to[0] = *from;
  }
}

// Stores kCount floats; `to` must be aligned to 4 * kCount bytes, at most 16.
template <int kCount>
__device__ __forceinline__ void store_floats(float* to, const float (&from)[kCount]) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount / 4; ++i) {
      reinterpret_cast<float4*>(to)[i] =
          make_float4(from[4 * i], from[4 * i + 1], from[4 * i + 2], from[4 * i + 3]);
    }
  } else if constexpr (kCount == 2) {
    *reinterpret_cast<float2*>(to) = make_float2(from[0], from[1]);
  } else {
    static_assert(kCount == 1, "kCount must be 1, 2 or a multiple of 4");
    *to = from[0];
  }
}

}  // namespace vim_scan
