// A fake of the part of ONNX Runtime that the CUDA operator calls: a table of functions, and a node with its tensors.
// Memory is on the host, so that sanitizers detect leaks and use after free.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "ort_abi.h"

namespace ort_abi {

struct Status {
  int code;
  std::string message;
};
struct Value {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> memory = std::vector<std::int64_t>(1);
};
struct TensorShape {
  std::vector<std::int64_t> shape;
};
struct KernelInfo {
  std::map<std::string, std::int64_t> integers;
};
struct OpDomain {
  std::string name;
  std::vector<const CustomOp*> operators;
};
struct SessionOptions {
  std::vector<OpDomain*> domains;
};
struct MemoryInfo {};
struct Allocator {};
struct KernelContext {
  std::vector<Value*> inputs;
  Value output, second_output;
  bool refuses_memory = false;
};

}  // namespace ort_abi

namespace ort_test {

using namespace ort_abi;

inline int scratch_given = 0, scratch_freed = 0;
inline std::size_t scratch_bytes = 0;
inline const Value* memory_beside = nullptr;
inline char stream_mark;

inline Status* create_status(int code, const char* message) { return new Status{code, message}; }

inline Status* get_attribute(const KernelInfo* info, const char* name, std::int64_t* value) {
  const auto found = info->integers.find(name);
  if (found == info->integers.end()) return create_status(kFail, "no such attribute");
  *value = found->second;
  return nullptr;
}

inline Status* get_scratch(const KernelContext* context, const MemoryInfo*, std::size_t bytes, void** memory) {
  if (context->refuses_memory) return create_status(kFail, "out of GPU memory");
  ++scratch_given;
  scratch_bytes = bytes;
  *memory = std::malloc(bytes);
  return nullptr;
}

// OrtApi as of kCudaApiVersion.
class Table {
 public:
  Table() : slots_(280, nullptr) {
    set<Status*(int, const char*)>(0, create_status);
    set<Status*(const char*, OpDomain**)>(26, [](const char* name, OpDomain** domain) -> Status* {
      *domain = new OpDomain{name, {}};
      return nullptr;
    });
    set<Status*(OpDomain*, const CustomOp*)>(27, [](OpDomain* domain, const CustomOp* op) -> Status* {
      domain->operators.push_back(op);
      return nullptr;
    });
    set<Status*(SessionOptions*, OpDomain*)>(28, [](SessionOptions* options, OpDomain* domain) -> Status* {
      options->domains.push_back(domain);
      return nullptr;
    });
    set<Status*(Value*, void**)>(51, [](Value* value, void** data) -> Status* {
      *data = value->memory.data();
      return nullptr;
    });
    set<Status*(const TensorShape*, std::size_t*)>(61, [](const TensorShape* shape, std::size_t* count) -> Status* {
      *count = shape->shape.size();
      return nullptr;
    });
    set<Status*(const TensorShape*, std::int64_t*, std::size_t)>(
        62, [](const TensorShape* shape, std::int64_t* sizes, std::size_t count) -> Status* {
          std::memcpy(sizes, shape->shape.data(), count * sizeof *sizes);
          return nullptr;
        });
    set<Status*(const Value*, TensorShape**)>(65, [](const Value* value, TensorShape** shape) -> Status* {
      *shape = new TensorShape{value->shape};
      return nullptr;
    });
    set<Status*(Allocator*, void*)>(76, [](Allocator*, void* memory) -> Status* {
      ++scratch_freed;
      std::free(memory);
      return nullptr;
    });
    set<Status*(const KernelInfo*, const char*, std::int64_t*)>(86, get_attribute);
    set<Status*(const KernelContext*, std::size_t, const Value**)>(
        90, [](const KernelContext* context, std::size_t index, const Value** value) -> Status* {
          *value = context->inputs.at(index);
          return nullptr;
        });
    set<Status*(KernelContext*, std::size_t, const std::int64_t*, std::size_t, Value**)>(
        91, [](KernelContext* context, std::size_t index, const std::int64_t* sizes, std::size_t count,
               Value** value) -> Status* {
          *value = index == 0 ? &context->output : &context->second_output;
          (*value)->shape.assign(sizes, sizes + count);
          return nullptr;
        });
    set<void(Status*)>(93, [](Status* status) { delete status; });
    set<void(TensorShape*)>(99, [](TensorShape* shape) { delete shape; });
    set<void(OpDomain*)>(101, [](OpDomain* domain) { delete domain; });
    set<void(Allocator*)>(132, [](Allocator* allocator) { delete allocator; });
    set<Status*(const KernelContext*, void**)>(193, [](const KernelContext*, void** stream) -> Status* {
      *stream = &stream_mark;
      return nullptr;
    });
    set<Status*(const Value*, const MemoryInfo**)>(194, [](const Value* value, const MemoryInfo** info) -> Status* {
      static const MemoryInfo memory{};
      memory_beside = value;
      *info = &memory;
      return nullptr;
    });
    set<Status*(const KernelContext*, const MemoryInfo*, Allocator**)>(
        253, [](const KernelContext*, const MemoryInfo*, Allocator** allocator) -> Status* {
          *allocator = new Allocator;
          return nullptr;
        });
    set<Status*(const KernelContext*, const MemoryInfo*, std::size_t, void**)>(277, get_scratch);
  }

  const ApiTable* get() const { return reinterpret_cast<const ApiTable*>(slots_.data()); }

 private:
  template <class Function>
  void set(std::size_t slot, Function* function) {
    slots_.at(slot) = reinterpret_cast<void*>(function);
  }

  std::vector<void*> slots_;
};

inline const Table& table() {
  static const Table made;
  return made;
}

// A runtime that supports every version, and one that is too old.
inline const ApiBase* new_runtime() {
  static const ApiBase base{[](std::uint32_t) { return table().get(); }, [] { return "1.99.0"; }};
  return &base;
}
inline const ApiBase* old_runtime() {
  static const ApiBase base{[](std::uint32_t version) { return version <= 17 ? table().get() : nullptr; },
                            [] { return "1.17.1"; }};
  return &base;
}

// The message of a status, which is released; empty if it is null.
inline std::string text_of(Status* status) {
  if (status == nullptr) return "";
  const std::string text = status->message;
  delete status;
  return text;
}

}  // namespace ort_test
