// vim_deploy::SelectiveScan for ONNX Runtime: translates shapes, attributes and the caller's threads; the
// arithmetic is scan.h's. Nothing here throws or keeps state between kernels: two runtimes may share a process.
#include "ort_op.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>

#include "contract.h"
#include "scan.h"

namespace {

using namespace ort_abi;

constexpr std::size_t kInputs = 8;
constexpr std::size_t kMaxRank = 3;
enum Input : std::size_t { kU, kDelta, kA, kB, kC, kD, kZ, kDeltaBias };

struct Shape {
  std::size_t rank = 0;
  std::int64_t size[kMaxRank] = {};
};

struct InputSpec {
  const char* name;
  std::size_t rank;
  const char* meaning;
};

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

// Every message begins with the operator's name.
[[gnu::format(printf, 2, 3)]] Status* refuse(const Api& api, const char* format, ...) {
  char message[400];
  int used = std::snprintf(message, sizeof message, "%s::%s: ", vim_contract::kDomain, vim_contract::kName);
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message + used, sizeof message - used, format, arguments);
  va_end(arguments);
  return api.CreateStatus(kInvalidArgument, message);
}

struct ShapeText {
  char text[96];
  explicit ShapeText(const Shape& shape) {
    int used = std::snprintf(text, sizeof text, "(");
    for (std::size_t i = 0; i < shape.rank; ++i)
      used += std::snprintf(text + used, sizeof text - used, "%s%lld", i == 0 ? "" : ", ",
                            static_cast<long long>(shape.size[i]));
    std::snprintf(text + used, sizeof text - used, ")");
  }
};

// An attribute that must be there and be 0 or 1.
Status* read_switch(const Api& api, const KernelInfo* info, const char* name, std::int32_t* value) {
  std::int64_t read = 0;
  if (Status* missing = api.KernelInfoGetAttribute_int64(info, name, &read)) {
    api.ReleaseStatus(missing);
    return refuse(api, "attribute %s is missing; write it on the node as an integer, 0 or 1", name);
  }
  if (read != 0 && read != 1)
    return refuse(api, "attribute %s is %lld, expected 0 or 1", name, static_cast<long long>(read));
  *value = static_cast<std::int32_t>(read);
  return nullptr;
}

Status* create_kernel(const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
  const Api api(table);
  void* memory = std::malloc(sizeof(Kernel));  // operator new would bring a C++ runtime along
  if (memory == nullptr) return refuse(api, "out of memory");
  auto* created = new (memory) Kernel{api};
  Status* failure = read_switch(api, info, "delta_softplus", &created->delta_softplus);
  if (failure == nullptr) failure = read_switch(api, info, "reverse", &created->reverse);
  if (failure != nullptr) {
    std::free(memory);
    return failure;
  }
  *kernel = created;
  return nullptr;
}

void destroy_kernel(void* kernel) { std::free(kernel); }

// Data and shape of one input; the rank must be the contract's.
Status* read_input(const Api& api, const KernelContext* context, std::size_t index, const float** data,
                   Shape* shape) {
  const InputSpec& spec = kSpecs[index];
  const Value* value = nullptr;
  if (Status* failure = api.KernelContext_GetInput(context, index, &value)) return failure;
  if (value == nullptr)
    return refuse(api, "input %s is absent; all %zu inputs are required", spec.name, kInputs);
  TensorShape* info = nullptr;
  if (Status* failure = api.GetTensorTypeAndShape(value, &info)) return failure;
  Status* failure = api.GetDimensionsCount(info, &shape->rank);
  const bool fits = failure == nullptr && shape->rank == spec.rank;
  if (fits) failure = api.GetDimensions(info, shape->size, shape->rank);
  api.ReleaseTensorTypeAndShapeInfo(info);
  if (failure != nullptr) return failure;
  if (!fits)
    return refuse(api, "input %s has rank %zu, expected %zu, %s", spec.name, shape->rank, spec.rank, spec.meaning);
  void* raw = nullptr;
  if (Status* failed = api.GetTensorMutableData(const_cast<Value*>(value), &raw)) return failed;
  *data = static_cast<const float*>(raw);
  return nullptr;
}

// The sizes come from u and A; every other input must agree with them.
Status* check_shapes(const Api& api, const Shape (&shapes)[kInputs], const vim_scan::Arguments& sizes) {
  const Shape sequence = {3, {sizes.batch, sizes.length, sizes.channels}};
  const Shape projection = {3, {sizes.batch, sizes.length, sizes.state}};
  const Shape per_channel = {1, {sizes.channels}};
  const Shape expected[kInputs] = {sequence,   sequence,    {2, {sizes.channels, sizes.state}},
                                   projection, projection,  per_channel,
                                   sequence,   per_channel};
  for (std::size_t i = 0; i < kInputs; ++i) {
    bool same = true;
    for (std::size_t k = 0; k < expected[i].rank; ++k) same = same && shapes[i].size[k] == expected[i].size[k];
    if (!same)
      return refuse(api, "input %s has shape %s, expected %s = %s from the shapes of u and A", kSpecs[i].name,
                    ShapeText(shapes[i]).text, kSpecs[i].meaning, ShapeText(expected[i]).text);
  }
  if (sizes.length == 0 || sizes.channels == 0 || sizes.state == 0)
    return refuse(api, "length %lld, channels %lld, state %lld: each must be at least 1",
                  static_cast<long long>(sizes.length), static_cast<long long>(sizes.channels),
                  static_cast<long long>(sizes.state));
  return nullptr;
}

Status* read_arguments(const Kernel& kernel, const KernelContext* context, vim_scan::Arguments* arguments) {
  const float* data[kInputs];
  Shape shapes[kInputs];
  for (std::size_t i = 0; i < kInputs; ++i)
    if (Status* failure = read_input(kernel.api, context, i, &data[i], &shapes[i])) return failure;
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
  const std::int64_t shape[] = {arguments.batch, arguments.length, arguments.channels};
  Value* output = nullptr;
  if (Status* failure = api.KernelContext_GetOutput(context, 0, shape, 3, &output)) return failure;
  const auto tasks = static_cast<std::size_t>(vim_scan::task_count(arguments));
  if (tasks == 0) return nullptr;
  void* y = nullptr;
  if (Status* failure = api.GetTensorMutableData(output, &y)) return failure;
  arguments.y = static_cast<float*>(y);
  // As many batches as tasks: whichever thread of the session is free takes the next.
  return api.KernelContext_ParallelFor(context, run_one_task, tasks, tasks, &arguments);
}

CustomOp describe() {
  CustomOp op = {};
  op.version = kApiVersion;
  op.GetName = [](const CustomOp*) { return vim_contract::kName; };
  op.GetExecutionProviderType = [](const CustomOp*) -> const char* { return "CPUExecutionProvider"; };
  op.GetInputType = [](const CustomOp*, std::size_t) { return kFloat; };
  op.GetInputTypeCount = [](const CustomOp*) { return kInputs; };
  op.GetOutputType = [](const CustomOp*, std::size_t) { return kFloat; };
  op.GetOutputTypeCount = [](const CustomOp*) -> std::size_t { return 1; };
  op.KernelDestroy = destroy_kernel;
  op.GetInputCharacteristic = [](const CustomOp*, std::size_t) { return kRequired; };
  op.GetOutputCharacteristic = [](const CustomOp*, std::size_t) { return kRequired; };
  op.GetInputMemoryType = [](const CustomOp*, std::size_t) { return 0; };  // the provider's own memory
  op.CreateKernelV2 = create_kernel;
  op.KernelComputeV2 = compute;
  // No InferOutputShapeFn: versions 1.17 to 1.23 get shapes wrong or crash where one is set.
  op.GetStartVersion = [](const CustomOp*) -> int { return vim_contract::kVersion; };
  op.GetEndVersion = [](const CustomOp*) { return std::numeric_limits<int>::max(); };
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

}  // namespace

ort_abi::Status* RegisterCustomOps(ort_abi::SessionOptions* options, const ort_abi::ApiBase* base) {
  const ApiTable* table = base->GetApi(kApiVersion);
  if (table == nullptr) return refuse_old_runtime(base);
  const Api api(table);
  if (vim_scan::instruction_set() == nullptr) return refuse(api, "%s", vim_scan::instruction_set_error());

  OpDomain* domain = nullptr;
  if (Status* failure = api.CreateCustomOpDomain(vim_contract::kDomain, &domain)) return failure;
  Status* failure = api.CustomOpDomain_Add(domain, &kSelectiveScan);
  if (failure == nullptr) failure = api.AddCustomOpDomain(options, domain);
  if (failure != nullptr) {
    api.ReleaseCustomOpDomain(domain);
    return failure;
  }
  // The options and the sessions made from them keep a bare pointer to the domain and never say when they are
  // done with it, so these few hundred bytes live as long as the process.
  return nullptr;
}
