// Memory for kernels that run on the CPU; include it after cuda_shim.h and a kernel.
#pragma once

#include <cstdlib>
#include <cstring>

#include "cuda_problem.h"

namespace cuda_test {

// A buffer of the exact size, so that the sanitizer detects any access beyond it. Every byte is 0xff, which is NaN in
// every type, so that values that are not written are detected.
class Buffer {
 public:
  // malloc aligns to 16 bytes; `shift` makes the data unaligned.
  explicit Buffer(std::size_t bytes, std::size_t shift = 0)
      : start_(static_cast<char*>(std::malloc(bytes + shift))), size_(bytes), shift_(shift) {
    if (bytes > 0) std::memset(start_, 0xff, bytes + shift);
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { std::free(start_); }
  template <class T>
  T* as() { return reinterpret_cast<T*>(start_ + shift_); }
  std::size_t size() const { return size_; }

 private:
  char* start_;
  std::size_t size_, shift_;
};

template <class Element>
void fill(Buffer& buffer, Values& values) {
  using Bits = typename Element::Bits;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Bits bits = Element::from_float(values[i]);
    buffer.as<Bits>()[i] = bits;
    values[i] = Element::to_float(bits);  // the oracle gets the same values as the kernel
  }
}

}  // namespace cuda_test
