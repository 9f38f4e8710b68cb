// vim_deploy::SelectiveScan for ONNX Runtime on the CPU: reads inputs and attributes and runs the tasks of scan.h
// on the session's threads. Nothing here throws or has global state: two runtimes may share a process.
#include "ort_op.h"

#include <cstdlib>
#include <new>

#include "fused.h"
#include "ort_domain.h"
#include "ort_fused.h"
#include "ort_scan.h"
#include "ort_tensor.h"
#include "scan.h"

namespace {

using namespace ort_abi;
using namespace ort_tensor;
using ort_scan::kOperator;

struct Kernel {
  Api api;
  vim_contract::Flags flags;
};

Status* create_kernel(const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
  const Api api(table);
  void* memory = std::malloc(sizeof(Kernel));  // operator new would require a C++ runtime
  if (memory == nullptr) return refuse(api, kOperator, "out of memory");
  auto* created = new (memory) Kernel{api, {}};
  if (Status* failure = ort_scan::read_flags(api, info, &created->flags)) {
    std::free(memory);
    return failure;
  }
  *kernel = created;
  return nullptr;
}

void destroy_kernel(void* kernel) { std::free(kernel); }

Status* read_arguments(const Kernel& kernel, KernelContext* context, vim_scan::Arguments* arguments) {
  ort_scan::Inputs inputs;
  if (Status* failure = ort_scan::read_inputs(kernel.api, context, kernel.flags, &inputs)) return failure;
  inputs.set(*arguments);
  arguments->delta_softplus = kernel.flags.delta_softplus;
  arguments->reverse = kernel.flags.reverse;
  vim_scan::set_dense_pitches(*arguments);
  void* y = nullptr;
  if (Status* failure = ort_scan::make_y(kernel.api, context, inputs, &y)) return failure;
  arguments->y = static_cast<float*>(y);
  return nullptr;
}

void run_one_task(void* arguments, std::size_t task) {
  const auto index = static_cast<std::int64_t>(task);
  vim_scan::run_tasks(*static_cast<const vim_scan::Arguments*>(arguments), index, index + 1);
}

Status* compute(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  vim_scan::Arguments arguments = {};
  if (Status* failure = read_arguments(kernel, context, &arguments)) return failure;
  const auto tasks = static_cast<std::size_t>(vim_scan::task_count(arguments));
  if (tasks == 0) return nullptr;
  // One batch per task, so that the next free thread takes the next task.
  return kernel.api.KernelContext_ParallelFor(context, run_one_task, tasks, tasks, &arguments);
}

CustomOp describe() {
  CustomOp op = float_operator();
  ort_scan::describe(&op);
  op.KernelDestroy = destroy_kernel;
  op.CreateKernelV2 = create_kernel;
  op.KernelComputeV2 = compute;
  return op;
}

const CustomOp kSelectiveScan = describe();

}  // namespace

ort_abi::Status* RegisterCustomOps(ort_abi::SessionOptions* options, const ort_abi::ApiBase* base) {
  Status* failure = nullptr;
  const ApiTable* table = ort_domain::table_of(base, kApiVersion, &failure);
  if (table == nullptr) return failure;
  const Api api(table);
  if (vim_scan::instruction_set() == nullptr)
    return refuse(api, kOperator, "%s", vim_scan::instruction_set_error());

  const CustomOp* const contract[] = {&kSelectiveScan};
  failure = ort_domain::add(api, options, vim_contract::kDomain, contract, 1);
  if (failure != nullptr) return failure;
  std::size_t count = 0;
  const CustomOp* const* fused = vim_fused::operators(&count);
  return ort_domain::add(api, options, vim_fused::kDomain, fused, count);
}
