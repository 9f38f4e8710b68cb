// vim_deploy::SelectiveScan for ONNX Runtime's CUDA provider: translates shapes, types and the run's stream; the
// arithmetic is scan_cuda.h's. One operator for each type of u, all of one name: the runtime takes the one whose
// types are the node's. Nothing here throws or keeps state between kernels, and nothing waits for the GPU.
#include <cstdlib>
#include <new>

#include "contract.h"
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
  CustomOp op;  // first: the runtime hands back a pointer to it
  ElementType element;
  Type type;
};

struct Kernel {
  Api api;
  CudaApi cuda;
  ort_scan::Switches switches;
  Type type;
};

const Operator& operator_of(const CustomOp* op) { return *reinterpret_cast<const Operator*>(op); }

Status* create_kernel(const CustomOp* op, const ApiTable* table, const KernelInfo* info, void** kernel) {
  const Api api(table);
  void* memory = std::malloc(sizeof(Kernel));
  if (memory == nullptr) return refuse(api, kOperator, "out of memory");
  auto* created = new (memory) Kernel{api, CudaApi(table), {}, operator_of(op).type};
  if (Status* failure = ort_scan::read_switches(api, info, &created->switches)) {
    std::free(memory);
    return failure;
  }
  *kernel = created;
  return nullptr;
}

void destroy_kernel(void* kernel) { std::free(kernel); }

// Memory of the provider's own arena beside u, for the work that is queued on the run's stream until this object
// goes: the arena hands memory on to later work of the same stream alone, so it need not outlive the computation.
class Workspace {
 public:
  Workspace(const Kernel& kernel, const KernelContext* context) : kernel_(kernel), context_(context) {}
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  Status* take(const Value* beside, std::size_t bytes) {
    if (bytes == 0) return nullptr;
    const CudaApi& cuda = kernel_.cuda;
    const MemoryInfo* info = nullptr;
    if (Status* failure = cuda.GetTensorMemoryInfo(beside, &info)) return failure;
    if (Status* failure = cuda.KernelContext_GetAllocator(context_, info, &allocator_)) return failure;
    if (Status* failure = cuda.KernelContext_GetScratchBuffer(context_, info, bytes, &memory_)) return failure;
    if (memory_ == nullptr) return refuse(kernel_.api, kOperator, "no workspace of %zu bytes on the GPU", bytes);
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
  if (Status* failure = ort_scan::read_inputs(api, context, &inputs)) return failure;
  // Before memory is asked for: a size that is not served must not look like a lack of memory.
  if (const char* wrong = vim_scan::cuda_sizes_error(inputs.batch, inputs.length, inputs.channels, inputs.state))
    return refuse(api, kOperator, "%s", wrong);
  void* y = nullptr;
  if (Status* failure = ort_scan::make_y(api, context, inputs, &y)) return failure;
  if (inputs.batch == 0) return nullptr;
  Workspace workspace(kernel, context);
  const std::size_t bytes = vim_scan::cuda_workspace_bytes(inputs.channels, inputs.state);
  if (Status* failure = workspace.take(inputs.values[ort_scan::kU], bytes)) return failure;
  void* stream = nullptr;
  if (Status* failure = kernel.cuda.KernelContext_GetGPUComputeStream(context, &stream)) return failure;

  const auto floats = [&](ort_scan::Input input) { return static_cast<const float*>(inputs.data[input]); };
  vim_scan::CudaArguments arguments = {};
  arguments.batch = inputs.batch;
  arguments.length = inputs.length;
  arguments.channels = inputs.channels;
  arguments.state = inputs.state;
  arguments.type = kernel.type;
  arguments.delta_softplus = kernel.switches.delta_softplus != 0;
  arguments.reverse = kernel.switches.reverse != 0;
  arguments.u = inputs.data[ort_scan::kU];
  arguments.delta = inputs.data[ort_scan::kDelta];
  arguments.A = floats(ort_scan::kA);
  arguments.B = inputs.data[ort_scan::kB];
  arguments.C = inputs.data[ort_scan::kC];
  arguments.D = floats(ort_scan::kD);
  arguments.z = inputs.data[ort_scan::kZ];
  arguments.delta_bias = floats(ort_scan::kDeltaBias);
  arguments.y = y;
  arguments.workspace = workspace.get();
  if (const char* wrong = vim_scan::launch_cuda(arguments, static_cast<CUstream_st*>(stream)))
    return refuse(api, kOperator, "%s", wrong);
  return nullptr;
}

// A, D and delta_bias are float32 whatever the type of u.
ElementType input_type(const CustomOp* op, std::size_t index) {
  const bool wide = index == ort_scan::kA || index == ort_scan::kD || index == ort_scan::kDeltaBias;
  return wide ? kFloat : operator_of(op).element;
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
