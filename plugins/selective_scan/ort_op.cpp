// vim_deploy::SelectiveScan for ONNX Runtime: translates shapes, attributes and the caller's threads; the
// arithmetic is scan.h's. Nothing here throws or keeps state between kernels: two runtimes may share a process.
#include "ort_op.h"

#include <cstdlib>
#include <new>

#include "contract.h"
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
  ort_scan::Switches switches;
};

Status* create_kernel(const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
  const Api api(table);
  void* memory = std::malloc(sizeof(Kernel));  // operator new would bring a C++ runtime along
  if (memory == nullptr) return refuse(api, kOperator, "out of memory");
  auto* created = new (memory) Kernel{api, {}};
  if (Status* failure = ort_scan::read_switches(api, info, &created->switches)) {
    std::free(memory);
    return failure;
  }
  *kernel = created;
  return nullptr;
}

void destroy_kernel(void* kernel) { std::free(kernel); }

Status* read_arguments(const Kernel& kernel, KernelContext* context, vim_scan::Arguments* arguments) {
  ort_scan::Inputs inputs;
  if (Status* failure = ort_scan::read_inputs(kernel.api, context, &inputs)) return failure;
  const auto floats = [&](ort_scan::Input input) { return static_cast<const float*>(inputs.data[input]); };
  arguments->batch = inputs.batch;
  arguments->length = inputs.length;
  arguments->channels = inputs.channels;
  arguments->state = inputs.state;
  arguments->delta_softplus = kernel.switches.delta_softplus;
  arguments->reverse = kernel.switches.reverse;
  arguments->u = floats(ort_scan::kU);
  arguments->delta = floats(ort_scan::kDelta);
  arguments->A = floats(ort_scan::kA);
  arguments->B = floats(ort_scan::kB);
  arguments->C = floats(ort_scan::kC);
  arguments->D = floats(ort_scan::kD);
  arguments->z = floats(ort_scan::kZ);
  arguments->delta_bias = floats(ort_scan::kDeltaBias);
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
  // As many batches as tasks: whichever thread of the session is free takes the next.
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
