// The operators of gpu_operators.h for ONNX Runtime's CUDA provider: reads inputs and attributes and launches the kernel
// on the run's stream. There is one custom operator for each type T, all with the same name: the runtime chooses by the
// node's types. Nothing here throws, has global state or waits for the GPU.
#include <cstdio>
#include <cstdlib>
#include <new>

#include "gpu_operators.h"
#include "ort_domain.h"
#include "ort_op.h"
#include "ort_tensor.h"

namespace {

using namespace ort_abi;
using namespace ort_tensor;
using vim_contract::InputType;
using vim_scan::Type;

constexpr ElementType kElements[] = {kFloat, kFloat16, kBFloat16};  // in the order of Type
constexpr std::size_t kTypes = sizeof kElements / sizeof kElements[0];

struct Operator {
  CustomOp op;  // the first member: the runtime passes a pointer to it
  const vim_gpu::Operator* spec;
  Type type;
};

struct Kernel {
  Api api;
  CudaApi cuda;
  const vim_gpu::Operator* spec;
  Type type;
  vim_gpu::Attributes attributes;
  char name[64];  // with the domain, for messages
};

const Operator& operator_of(const CustomOp* op) { return *reinterpret_cast<const Operator*>(op); }

Status* create_kernel(const CustomOp* op, const ApiTable* table, const KernelInfo* info, void** kernel) {
  const Operator& made_by = operator_of(op);
  const vim_gpu::Operator& spec = *made_by.spec;
  const Api api(table);
  void* memory = std::malloc(sizeof(Kernel));
  if (memory == nullptr) return refuse(api, spec.name, "out of memory");
  auto* created = new (memory) Kernel{api, CudaApi(table), &spec, made_by.type, {}, {}};
  std::snprintf(created->name, sizeof created->name, "%s::%s", spec.domain, spec.name);
  for (std::int32_t i = 0; i < spec.attribute_count; ++i) {
    const vim_gpu::AttributeSpec& attribute = spec.attributes[i];
    const IntegerSpec expected = {attribute.name, attribute.least, attribute.most, attribute.expected};
    Status* failure = read_integer(api, created->name, info, expected, &created->attributes.value[i]);
    if (failure == nullptr) continue;
    std::free(memory);
    return failure;
  }
  *kernel = created;
  return nullptr;
}

void destroy_kernel(void* kernel) { std::free(kernel); }

// Memory from the arena of u's device, for work that is queued on the run's stream before this object is destroyed.
// The arena reuses it only for later work on the same stream, so it may be freed before the kernel has run.
class Workspace {
 public:
  Workspace(const Kernel& kernel, const KernelContext* context) : kernel_(kernel), context_(context) {}
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  Status* allocate(const Value* tensor, std::size_t bytes) {
    if (bytes == 0) return nullptr;
    const CudaApi& cuda = kernel_.cuda;
    const MemoryInfo* info = nullptr;
    if (Status* failure = cuda.GetTensorMemoryInfo(tensor, &info)) return failure;
    if (Status* failure = cuda.KernelContext_GetAllocator(context_, info, &allocator_)) return failure;
    if (Status* failure = cuda.KernelContext_GetScratchBuffer(context_, info, bytes, &memory_)) return failure;
    if (memory_ == nullptr)
      return refuse(kernel_.api, kernel_.name, "cannot allocate %zu bytes of workspace on the GPU", bytes);
    return nullptr;
  }

  ~Workspace() {
    if (memory_ != nullptr)
      if (Status* failure = kernel_.cuda.AllocatorFree(allocator_, memory_)) kernel_.api.ReleaseStatus(failure);
    if (allocator_ != nullptr) kernel_.cuda.ReleaseAllocator(allocator_);
  }

  void* get() const { return memory_; }

 private:
  const Kernel& kernel_;
  const KernelContext* context_;
  Allocator* allocator_ = nullptr;
  void* memory_ = nullptr;
};

// Inputs, and the sizes that follow from their shapes.
struct Inputs {
  const Value* values[vim_gpu::kMaxInputs];
  const void* data[vim_gpu::kMaxInputs];
  vim_gpu::Sizes sizes;
};

Status* read_inputs(const Kernel& kernel, const KernelContext* context, Inputs& inputs) {
  const vim_gpu::Operator& spec = *kernel.spec;
  Shape shapes[vim_gpu::kMaxInputs];
  std::int64_t dims[vim_gpu::kMaxInputs][vim_contract::kMaxRank];
  for (std::int32_t i = 0; i < spec.input_count; ++i) {
    const vim_gpu::TensorSpec& input = spec.inputs[i];
    const InputSpec expected = {input.name, input.shape.rank, input.shape_text};
    for (std::int64_t& size : dims[i]) size = -1;
    if (i == spec.optional_input) {
      const Value* given = nullptr;
      if (Status* failure = kernel.api.KernelContext_GetInput(context, static_cast<std::size_t>(i), &given))
        return failure;
      if (given == nullptr) continue;
    }
    if (Status* failure = read_value(kernel.api, kernel.name, context, static_cast<std::size_t>(i), expected,
                                     &inputs.values[i], &inputs.data[i], &shapes[i]))
      return failure;
    for (std::size_t k = 0; k < shapes[i].rank; ++k) dims[i][k] = shapes[i].size[k];
  }
  const std::int32_t wrong = vim_gpu::read_sizes(spec, kernel.attributes, dims, inputs.sizes);
  if (wrong >= 0)
    return refuse(kernel.api, kernel.name, "input %s has shape %s, expected %s with the sizes of the other inputs",
                  spec.inputs[wrong].name, ShapeText(shapes[wrong]).text, spec.inputs[wrong].shape_text);
  for (std::int32_t i = 0; i < spec.input_count; ++i)
    for (std::size_t k = 0; k < shapes[i].rank; ++k)
      if (shapes[i].size[k] == 0 && spec.inputs[i].shape.sizes[k] != vim_contract::kBatch)
        return refuse(kernel.api, kernel.name, "input %s has shape %s; only the batch may be 0", spec.inputs[i].name,
                      ShapeText(shapes[i]).text);
  // Before any allocation: an unsupported size must not look like a lack of memory.
  if (const char* error = spec.sizes_error(inputs.sizes, kernel.attributes)) return refuse(kernel.api, kernel.name, "%s", error);
  return nullptr;
}

Status* compute(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  const vim_gpu::Operator& spec = *kernel.spec;
  Inputs inputs = {};
  if (Status* failure = read_inputs(kernel, context, inputs)) return failure;
  void* outputs[vim_gpu::kMaxOutputs] = {};
  for (std::int32_t i = 0; i < spec.output_count; ++i) {
    Shape shape = {spec.outputs[i].shape.rank, {}};
    for (std::size_t k = 0; k < shape.rank; ++k) shape.size[k] = inputs.sizes.size[spec.outputs[i].shape.sizes[k]];
    if (Status* failure = make_value(kernel.api, context, static_cast<std::size_t>(i), shape, &outputs[i]))
      return failure;
  }
  if (inputs.sizes.size[vim_contract::kBatch] == 0) return nullptr;
  Workspace workspace(kernel, context);
  if (Status* failure = workspace.allocate(inputs.values[0], spec.workspace(inputs.sizes))) return failure;
  void* stream = nullptr;
  if (Status* failure = kernel.cuda.KernelContext_GetGPUComputeStream(context, &stream)) return failure;
  const vim_gpu::Call call = {kernel.attributes, inputs.sizes, kernel.type, inputs.data, outputs, workspace.get()};
  if (const char* error = spec.launch(call, static_cast<CUstream_st*>(stream)))
    return refuse(kernel.api, kernel.name, "%s", error);
  return nullptr;
}

ElementType input_type(const CustomOp* op, std::size_t index) {
  const bool float32 = operator_of(op).spec->inputs[index].type == InputType::kFloat32;
  return float32 ? kFloat : kElements[static_cast<std::size_t>(operator_of(op).type)];
}

Operator describe(std::int32_t index, Type type) {
  CustomOp op = float_operator();
  op.version = kCudaApiVersion;
  op.GetName = [](const CustomOp* self) { return operator_of(self).spec->name; };
  op.GetStartVersion = [](const CustomOp* self) { return std::atoi(operator_of(self).spec->version); };
  op.GetExecutionProviderType = [](const CustomOp*) -> const char* { return "CUDAExecutionProvider"; };
  op.GetInputTypeCount = [](const CustomOp* self) {
    return static_cast<std::size_t>(operator_of(self).spec->input_count);
  };
  op.GetOutputTypeCount = [](const CustomOp* self) {
    return static_cast<std::size_t>(operator_of(self).spec->output_count);
  };
  op.GetInputType = input_type;
  op.GetInputCharacteristic = [](const CustomOp* self, std::size_t input) {
    return static_cast<std::int32_t>(input) == operator_of(self).spec->optional_input ? kOptional : kRequired;
  };
  op.GetOutputType = [](const CustomOp* self, std::size_t) {
    return kElements[static_cast<std::size_t>(operator_of(self).type)];
  };
  op.KernelDestroy = destroy_kernel;
  op.CreateKernelV2 = create_kernel;
  op.KernelComputeV2 = compute;
  return {op, &vim_gpu::operator_at(index), type};
}

static_assert(vim_gpu::kOperatorCount == 3 && kTypes == 3, "one entry for each operator and type");
const Operator kOperators[vim_gpu::kOperatorCount][kTypes] = {
    {describe(0, Type::kFloat32), describe(0, Type::kFloat16), describe(0, Type::kBFloat16)},
    {describe(1, Type::kFloat32), describe(1, Type::kFloat16), describe(1, Type::kBFloat16)},
    {describe(2, Type::kFloat32), describe(2, Type::kFloat16), describe(2, Type::kBFloat16)},
};

}  // namespace

ort_abi::Status* RegisterCustomOps(ort_abi::SessionOptions* options, const ort_abi::ApiBase* base) {
  Status* failure = nullptr;
  const ApiTable* table = ort_domain::table_of(base, kCudaApiVersion, &failure);
  if (table == nullptr) return failure;
  const CustomOp* scan[kTypes];
  const CustomOp* fused[2 * kTypes];
  for (std::size_t i = 0; i < kTypes; ++i) {
    scan[i] = &kOperators[0][i].op;
    fused[i] = &kOperators[1][i].op;
    fused[kTypes + i] = &kOperators[2][i].op;
  }
  failure = ort_domain::add(Api(table), options, vim_gpu::operator_at(0).domain, scan, kTypes);
  if (failure != nullptr) return failure;
  return ort_domain::add(Api(table), options, vim_gpu::operator_at(1).domain, fused, 2 * kTypes);
}
