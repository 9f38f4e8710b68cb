// Shared by the fused operators for ONNX Runtime. Nothing here throws or has global state.
#pragma once

#include <cstdlib>
#include <new>

#include "fused.h"
#include "ort_tensor.h"

namespace vim_fused {

using namespace ort_abi;
using namespace ort_tensor;

// The attributes of a node; each operator uses some of them.
struct Kernel {
  Api api;
  float epsilon = 0.0f;
  std::int32_t delta_softplus = 0;
  std::int32_t average_directions = 0;
  std::int32_t columns = 0;
  std::int32_t channels = 0;
  std::int32_t patch_height = 0;
  std::int32_t patch_width = 0;
};

inline Status* new_kernel(const ApiTable* table, const char* name, Kernel** kernel) {
  const Api api(table);
  void* memory = std::malloc(sizeof(Kernel));  // operator new would require a C++ runtime
  if (memory == nullptr) return refuse(api, name, "out of memory");
  *kernel = new (memory) Kernel{api};
  return nullptr;
}

inline void destroy_kernel(void* kernel) { std::free(kernel); }

// The description of an input in contract_fused.h, for messages.
inline InputSpec spec_of(const TensorSpec& spec) { return {spec.name, spec.shape.rank, spec.shape_text}; }
inline InputSpec spec_of(const InputSpec& spec) { return spec; }

inline const float* floats(const void* data) { return static_cast<const float*>(data); }

template <class Spec, std::size_t N>
Status* read_inputs(const Api& api, const char* name, const KernelContext* context, const Spec (&specs)[N],
                    const float* (&data)[N], Shape (&shapes)[N]) {
  for (std::size_t i = 0; i < N; ++i)
    if (Status* failure = read_input(api, name, context, i, spec_of(specs[i]), &data[i], &shapes[i])) return failure;
  return nullptr;
}

template <class Spec, std::size_t N>
Status* expect_shapes(const Api& api, const char* name, const Spec (&specs)[N], const Shape (&shapes)[N],
                      const Shape (&expected)[N], const char* from) {
  for (std::size_t i = 0; i < N; ++i) {
    Status* failure = expect_shape(api, name, spec_of(specs[i]), shapes[i], expected[i], from);
    if (failure != nullptr) return failure;
    for (std::size_t k = 0; k < expected[i].rank; ++k) {
      const bool batch = k == 0 && expected[i].rank == kMaxRank;
      if (expected[i].size[k] < 1 && !batch)
        return refuse(api, name, "input %s has shape %s; only the batch may be 0", specs[i].name,
                      ShapeText(shapes[i]).text);
    }
  }
  return nullptr;
}

// One batch per task, so that the next free thread takes the next task.
template <class Problem, void (*Kernels::*Run)(const Problem&, std::int64_t, std::int64_t)>
Status* run(const Api& api, const KernelContext* context, Problem& problem) {
  const auto tasks = static_cast<std::size_t>(task_count(problem));
  if (tasks == 0) return nullptr;
  const auto one_task = [](void* data, std::size_t task) {
    const auto index = static_cast<std::int64_t>(task);
    (kernels().*Run)(*static_cast<const Problem*>(data), index, index + 1);
  };
  return api.KernelContext_ParallelFor(context, one_task, tasks, tasks, &problem);
}

template <std::size_t Inputs, std::size_t Outputs>
CustomOp describe() {
  CustomOp op = float_operator();
  op.GetInputTypeCount = [](const CustomOp*) { return Inputs; };
  op.GetOutputTypeCount = [](const CustomOp*) { return Outputs; };
  op.KernelDestroy = destroy_kernel;
  op.GetStartVersion = [](const CustomOp*) -> int { return kVersion; };
  return op;
}

// The operators of ort_matmul.cpp.
constexpr std::size_t kMatmulOperatorCount = 14;
extern const CustomOp* const kMatmulOperators[kMatmulOperatorCount];

}  // namespace vim_fused
