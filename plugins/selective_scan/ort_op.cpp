// vim_deploy::SelectiveScan for ONNX Runtime: translates shapes, attributes and the caller's threads; the
// arithmetic is scan.h's. Nothing here throws or keeps state between kernels: two runtimes may share a process.
#include "ort_op.h"

#include <cstdio>
#include <cstdlib>
#include <new>

#include "contract.h"
#include "fused.h"
#include "ort_fused.h"
#include "ort_tensor.h"
#include "scan.h"

namespace {

using namespace ort_abi;
using namespace ort_tensor;

constexpr std::size_t kInputs = 8;
enum Input : std::size_t { kU, kDelta, kA, kB, kC, kD, kZ, kDeltaBias };

constexpr InputSpec kSpecs[kInputs] = {
    {"u", 3, "(batch, length, channels)"},     {"delta", 3, "(batch, length, channels)"},
    {"A", 2, "(channels, state)"},             {"B", 3, "(batch, length, state)"},
    {"C", 3, "(batch, length, state)"},        {"D", 1, "(channels)"},
    {"z", 3, "(batch, length, channels)"},     {"delta_bias", 1, "(channels)"},
};

struct Kernel {
  Api api;
  std::int32_t delta_softplus = 0;
  std::int32_t reverse = 0;
};

const char kOperator[] = "vim_deploy::SelectiveScan";

Status* create_kernel(const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
  const Api api(table);
  void* memory = std::malloc(sizeof(Kernel));  // operator new would bring a C++ runtime along
  if (memory == nullptr) return refuse(api, kOperator, "out of memory");
  auto* created = new (memory) Kernel{api};
  Status* failure = read_switch(api, kOperator, info, "delta_softplus", &created->delta_softplus);
  if (failure == nullptr) failure = read_switch(api, kOperator, info, "reverse", &created->reverse);
  if (failure != nullptr) {
    std::free(memory);
    return failure;
  }
  *kernel = created;
  return nullptr;
}

void destroy_kernel(void* kernel) { std::free(kernel); }

// The sizes come from u and A; every other input must agree with them.
Status* check_shapes(const Api& api, const Shape (&shapes)[kInputs], const vim_scan::Arguments& sizes) {
  const Shape sequence = {3, {sizes.batch, sizes.length, sizes.channels}};
  const Shape projection = {3, {sizes.batch, sizes.length, sizes.state}};
  const Shape per_channel = {1, {sizes.channels}};
  const Shape expected[kInputs] = {sequence,   sequence,    {2, {sizes.channels, sizes.state}},
                                   projection, projection,  per_channel,
                                   sequence,   per_channel};
  for (std::size_t i = 0; i < kInputs; ++i) {
    Status* failure = expect_shape(api, kOperator, kSpecs[i], shapes[i], expected[i], "u and A");
    if (failure != nullptr) return failure;
  }
  if (sizes.length == 0 || sizes.channels == 0 || sizes.state == 0)
    return refuse(api, kOperator, "length %lld, channels %lld, state %lld: each must be at least 1",
                  static_cast<long long>(sizes.length), static_cast<long long>(sizes.channels),
                  static_cast<long long>(sizes.state));
  return nullptr;
}

Status* read_arguments(const Kernel& kernel, const KernelContext* context, vim_scan::Arguments* arguments) {
  const float* data[kInputs];
  Shape shapes[kInputs];
  for (std::size_t i = 0; i < kInputs; ++i)
    if (Status* failure = read_input(kernel.api, kOperator, context, i, kSpecs[i], &data[i], &shapes[i]))
      return failure;
  arguments->batch = shapes[kU].size[0];
  arguments->length = shapes[kU].size[1];
  arguments->channels = shapes[kU].size[2];
  arguments->state = shapes[kA].size[1];
  arguments->delta_softplus = kernel.delta_softplus;
  arguments->reverse = kernel.reverse;
  arguments->u = data[kU];
  arguments->delta = data[kDelta];
  arguments->A = data[kA];
  arguments->B = data[kB];
  arguments->C = data[kC];
  arguments->D = data[kD];
  arguments->z = data[kZ];
  arguments->delta_bias = data[kDeltaBias];
  vim_scan::set_dense_pitches(*arguments);
  return check_shapes(kernel.api, shapes, *arguments);
}

void run_one_task(void* arguments, std::size_t task) {
  const auto index = static_cast<std::int64_t>(task);
  vim_scan::run_tasks(*static_cast<const vim_scan::Arguments*>(arguments), index, index + 1);
}

Status* compute(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  const Api& api = kernel.api;
  vim_scan::Arguments arguments = {};
  if (Status* failure = read_arguments(kernel, context, &arguments)) return failure;
  const Shape shape = {3, {arguments.batch, arguments.length, arguments.channels}};
  if (Status* failure = make_output(api, context, 0, shape, &arguments.y)) return failure;
  const auto tasks = static_cast<std::size_t>(vim_scan::task_count(arguments));
  if (tasks == 0) return nullptr;
  // As many batches as tasks: whichever thread of the session is free takes the next.
  return api.KernelContext_ParallelFor(context, run_one_task, tasks, tasks, &arguments);
}

CustomOp describe() {
  CustomOp op = float_operator();
  op.GetName = [](const CustomOp*) { return vim_contract::kName; };
  op.GetInputTypeCount = [](const CustomOp*) { return kInputs; };
  op.GetOutputTypeCount = [](const CustomOp*) -> std::size_t { return 1; };
  op.KernelDestroy = destroy_kernel;
  op.CreateKernelV2 = create_kernel;
  op.KernelComputeV2 = compute;
  op.GetStartVersion = [](const CustomOp*) -> int { return vim_contract::kVersion; };
  return op;
}

const CustomOp kSelectiveScan = describe();

Status* refuse_old_runtime(const ApiBase* base) {
  char message[240];
  std::snprintf(message, sizeof message,
                "vim_deploy: ONNX Runtime %s is too old for this operator library, expected 1.%u or later; install "
                "a newer onnxruntime",
                base->GetVersionString(), kApiVersion);
  const Api oldest(base->GetApi(1));
  return oldest.CreateStatus(kFail, message);
}

// The options and the sessions made from them keep a bare pointer to the domain and never say when they are done
// with it, so these few hundred bytes live as long as the process.
Status* add_domain(const Api& api, SessionOptions* options, const char* name, const CustomOp* const* operators,
                   std::size_t count) {
  OpDomain* domain = nullptr;
  if (Status* failure = api.CreateCustomOpDomain(name, &domain)) return failure;
  Status* failure = nullptr;
  for (std::size_t i = 0; i < count && failure == nullptr; ++i)
    failure = api.CustomOpDomain_Add(domain, operators[i]);
  if (failure == nullptr) failure = api.AddCustomOpDomain(options, domain);
  if (failure != nullptr) api.ReleaseCustomOpDomain(domain);
  return failure;
}

}  // namespace

ort_abi::Status* RegisterCustomOps(ort_abi::SessionOptions* options, const ort_abi::ApiBase* base) {
  const ApiTable* table = base->GetApi(kApiVersion);
  if (table == nullptr) return refuse_old_runtime(base);
  const Api api(table);
  if (vim_scan::instruction_set() == nullptr)
    return refuse(api, kOperator, "%s", vim_scan::instruction_set_error());

  const CustomOp* const contract[] = {&kSelectiveScan};
  Status* failure = add_domain(api, options, vim_contract::kDomain, contract, 1);
  if (failure != nullptr) return failure;
  std::size_t count = 0;
  const CustomOp* const* fused = vim_fused::operators(&count);
  return add_domain(api, options, vim_fused::kDomain, fused, count);
}
