// vim_deploy::SelectiveScan for ONNX Runtime's CUDA provider: reads inputs and attributes and launches the kernel of
// scan_cuda.h on the run's stream. There is one operator for each type of u, all with the same name: the runtime
// chooses by the node's types. Nothing here throws, has global state or waits for the GPU.
#include <cstdlib>
#include <new>

#include "ort_domain.h"
#include "ort_op.h"
#include "ort_scan.h"
#include "ort_tensor.h"
#include "scan_cuda.h"

namespace {

using namespace ort_abi;
using namespace ort_tensor;
using ort_scan::kOperator;
using vim_scan::Type;

struct Operator {
  CustomOp op;  // the first member: the runtime passes a pointer to it
  ElementType element;
  Type type;
};

struct Kernel {
  Api api;
  CudaApi cuda;
  vim_contract::Flags flags;
  Type type;
};

const Operator& operator_of(const CustomOp* op) { return *reinterpret_cast<const Operator*>(op); }

Status* create_kernel(const CustomOp* op, const ApiTable* table, const KernelInfo* info, void** kernel) {
  const Api api(table);
  void* memory = std::malloc(sizeof(Kernel));
  if (memory == nullptr) return refuse(api, kOperator, "out of memory");
  auto* created = new (memory) Kernel{api, CudaApi(table), {}, operator_of(op).type};
  if (Status* failure = ort_scan::read_flags(api, info, &created->flags)) {
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
      return refuse(kernel_.api, kOperator, "cannot allocate %zu bytes of workspace on the GPU", bytes);
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

Status* compute(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  const Api& api = kernel.api;
  ort_scan::Inputs inputs;
  if (Status* failure = ort_scan::read_inputs(api, context, kernel.flags, &inputs)) return failure;
  vim_scan::CudaArguments arguments = {};
  inputs.set(arguments);
  // Before any allocation: an unsupported size must not look like a lack of memory.
  if (const char* error =
          vim_scan::cuda_sizes_error(arguments.batch, arguments.length, arguments.channels, arguments.state))
    return refuse(api, kOperator, "%s", error);
  if (Status* failure = ort_scan::make_y(api, context, inputs, &arguments.y)) return failure;
  if (arguments.batch == 0) return nullptr;
  Workspace workspace(kernel, context);
  const std::size_t bytes = vim_scan::cuda_workspace_bytes(arguments.channels, arguments.state);
  if (Status* failure = workspace.allocate(inputs.values[vim_contract::kU], bytes)) return failure;
  void* stream = nullptr;
  if (Status* failure = kernel.cuda.KernelContext_GetGPUComputeStream(context, &stream)) return failure;
  arguments.type = kernel.type;
  arguments.delta_softplus = kernel.flags.delta_softplus != 0;
  arguments.reverse = kernel.flags.reverse != 0;
  arguments.workspace = workspace.get();
  if (const char* error = vim_scan::launch_cuda(arguments, static_cast<CUstream_st*>(stream)))
    return refuse(api, kOperator, "%s", error);
  return nullptr;
}

ElementType input_type(const CustomOp* op, std::size_t index) {
  const bool float32 = vim_contract::kInputSpecs[index].type == vim_contract::InputType::kFloat32;
  return float32 ? kFloat : operator_of(op).element;
}

Operator describe(ElementType element, Type type) {
  CustomOp op = float_operator();
  ort_scan::describe(&op);
  op.version = kCudaApiVersion;
  op.GetExecutionProviderType = [](const CustomOp*) -> const char* { return "CUDAExecutionProvider"; };
  op.GetInputType = input_type;
  op.GetOutputType = [](const CustomOp* self, std::size_t) { return operator_of(self).element; };
  op.KernelDestroy = destroy_kernel;
  op.CreateKernelV2 = create_kernel;
  op.KernelComputeV2 = compute;
  return {op, element, type};
}

const Operator kOperators[] = {
    describe(kFloat, Type::kFloat32),
    describe(kFloat16, Type::kFloat16),
    describe(kBFloat16, Type::kBFloat16),
};

}  // namespace

ort_abi::Status* RegisterCustomOps(ort_abi::SessionOptions* options, const ort_abi::ApiBase* base) {
  Status* failure = nullptr;
  const ApiTable* table = ort_domain::table_of(base, kCudaApiVersion, &failure);
  if (table == nullptr) return failure;
  const CustomOp* operators[] = {&kOperators[0].op, &kOperators[1].op, &kOperators[2].op};
  return ort_domain::add(Api(table), options, vim_contract::kDomain, operators, 3);
}
