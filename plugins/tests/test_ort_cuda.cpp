// Every method of ONNX Runtime's CUDA operator, called as the runtime calls it. The runtime and the kernel are fakes:
// the tests check what the adapter requests from the runtime and passes to the kernel.
#include <memory>

#include "contract_fused.h"
#include "gpu_operators.h"
#include "launch_fake.h"
#include "ort_fake.h"
#include "ort_op.h"

namespace {

using namespace ort_abi;
using namespace ort_test;
using trt_test::launch;
using vim_scan::Type;

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

struct Registered {
  SessionOptions options;
  Registered() { CHECK(text_of(RegisterCustomOps(&options, new_runtime())).empty()); }
  ~Registered() {
    for (OpDomain* domain : options.domains) delete domain;
  }
  const CustomOp& op(std::size_t index, std::size_t domain = 0) const {
    return *options.domains.at(domain)->operators.at(index);
  }
};

// The inputs of a node; the rank is 3, the width 4.
struct Node {
  Value values[vim_gpu::kMaxInputs];
  KernelContext context;
  Node(std::int64_t batch, std::int64_t length, std::int64_t channels, std::int64_t state, std::int64_t groups = 1,
       int index = 0) {
    const vim_gpu::Operator& op = vim_gpu::operator_at(index);
    const std::int64_t sizes[] = {batch, length, channels, state, groups * state, 3, 4, 2 * channels, 3 + 2 * state};
    static_assert(sizeof sizes / sizeof sizes[0] == vim_contract::kSizes);
    for (std::int32_t i = 0; i < op.input_count; ++i) {
      const vim_contract::Shape& shape = op.inputs[i].shape;
      for (std::size_t k = 0; k < shape.rank; ++k) values[i].shape.push_back(sizes[shape.sizes[k]]);
      context.inputs.push_back(&values[i]);
    }
  }
};

class Kernel {
 public:
  Kernel(const CustomOp& op, std::int64_t softplus, std::int64_t reverse, std::int64_t groups = 1)
      : Kernel(op, KernelInfo{{{"delta_softplus", softplus}, {"reverse", reverse}, {"groups", groups}}}) {}
  Kernel(const CustomOp& op, const KernelInfo& info) : op_(op) {
    CHECK(text_of(op.CreateKernelV2(&op, table().get(), &info, &kernel_)).empty());
  }
  ~Kernel() { op_.KernelDestroy(kernel_); }
  std::string run(Node& node) { return text_of(op_.KernelComputeV2(kernel_, &node.context)); }

 private:
  const CustomOp& op_;
  void* kernel_ = nullptr;
};

void check_registration() {
  const Registered registered;
  CHECK(registered.options.domains.size() == 2);
  const OpDomain& domain = *registered.options.domains[0];
  CHECK(domain.name == "vim_deploy" && domain.operators.size() == 3);
  const ElementType types[] = {kFloat, kFloat16, kBFloat16};
  for (std::size_t i = 0; i < 3; ++i) {
    const CustomOp& op = registered.op(i);
    CHECK(op.version == 18);
    CHECK(std::string(op.GetName(&op)) == "SelectiveScan");
    CHECK(std::string(op.GetExecutionProviderType(&op)) == "CUDAExecutionProvider");
    CHECK(op.GetInputTypeCount(&op) == 8 && op.GetOutputTypeCount(&op) == 1);
    CHECK(op.GetStartVersion(&op) == 2 && op.GetEndVersion(&op) > 2);
    CHECK(op.GetOutputType(&op, 0) == types[i]);
    for (std::size_t input = 0; input < 8; ++input) {
      const bool wide = input == 2 || input == 5 || input == 7;  // A, D, delta_bias
      CHECK(op.GetInputType(&op, input) == (wide ? kFloat : types[i]));
      CHECK(op.GetInputCharacteristic(&op, input) == (input == 6 ? kOptional : kRequired));  // z
      CHECK(op.GetInputMemoryType(&op, input) == 0);
    }
    CHECK(op.GetMayInplace == nullptr && op.GetAliasMap == nullptr);
  }
}

void check_old_runtime() {
  SessionOptions options;
  const std::string text = text_of(RegisterCustomOps(&options, old_runtime()));
  CHECK(has(text, "ONNX Runtime 1.17.1 is too old") && has(text, "expected 1.18 or later"));
  CHECK(options.domains.empty());
}

void check_attributes() {
  const Registered registered;
  const CustomOp& op = registered.op(0);
  void* kernel = nullptr;
  const auto create = [&](const KernelInfo& info) {
    return text_of(op.CreateKernelV2(&op, table().get(), &info, &kernel));
  };
  CHECK(has(create({{{"delta_softplus", 1}}}), "attribute reverse is missing"));
  CHECK(has(create({{{"delta_softplus", 2}, {"reverse", 0}}}), "attribute delta_softplus is 2"));
  CHECK(kernel == nullptr);
}

void check_launches() {
  const Registered registered;
  const Type types[] = {Type::kFloat32, Type::kFloat16, Type::kBFloat16};
  for (std::size_t i = 0; i < 3; ++i) {
    for (const int reverse : {0, 1}) {
      launch = {};
      Kernel kernel(registered.op(i), 1 - reverse, reverse);
      Node node(2, 5, 24, 16);
      CHECK(kernel.run(node).empty());
      const vim_scan::CudaArguments& a = launch.arguments;
      CHECK(launch.calls == 1 && launch.stream == reinterpret_cast<CUstream_st*>(&stream_mark));
      CHECK(a.batch == 2 && a.length == 5 && a.channels == 24 && a.state == 16);
      CHECK(a.type == types[i] && a.reverse == (reverse == 1) && a.delta_softplus == (reverse == 0));
      const void* found[] = {a.u, a.delta, a.A, a.B, a.C, a.D, a.z, a.delta_bias};
      for (std::size_t input = 0; input < 8; ++input) CHECK(found[input] == node.values[input].memory.data());
      CHECK(a.y == node.context.output.memory.data());
      CHECK((node.context.output.shape == std::vector<std::int64_t>{2, 5, 24}));
      CHECK(memory_beside == &node.values[0] && a.workspace != nullptr);
      CHECK(scratch_bytes == vim_scan::cuda_workspace_bytes(24, 16));
      CHECK(scratch_given == scratch_freed);
    }
  }
}

void check_forms() {
  const Registered registered;
  launch = {};
  Kernel kernel(registered.op(0), 1, 0, 3);
  Node node(2, 5, 24, 16, 3);
  node.context.inputs[6] = nullptr;
  CHECK(kernel.run(node).empty());
  const vim_scan::CudaArguments& a = launch.arguments;
  CHECK(a.groups == 3 && a.state == 16 && a.z == nullptr && a.delta_bias != nullptr);
}

void check_refusals() {
  const Registered registered;
  Kernel kernel(registered.op(1), 1, 0);
  launch = {};
  Node wrong(2, 5, 24, 16);
  wrong.values[3].shape = {2, 5, 15};
  CHECK(has(kernel.run(wrong), "input B has shape (2, 5, 15)"));
  Node flat(2, 5, 24, 16);
  flat.values[0].shape = {10, 24};
  CHECK(has(kernel.run(flat), "input u has rank 2, expected 3"));
  Node absent(2, 5, 24, 16);
  absent.context.inputs[5] = nullptr;
  CHECK(has(kernel.run(absent), "input D is missing"));
  Node grouped(2, 5, 24, 16, 3);
  CHECK(has(kernel.run(grouped), "input B has shape (2, 5, 48)"));
  Kernel of_five(registered.op(1), 1, 0, 5);
  Node five(2, 5, 24, 16, 5);
  CHECK(has(of_five.run(five), "the channels cannot be divided into that number of groups"));
  Node empty(2, 0, 24, 16);
  CHECK(has(kernel.run(empty), "input u has shape (2, 0, 24); only the batch may be 0"));
  Node large(1, 5, 24, 257);
  CHECK(has(kernel.run(large), "the state size is above 256"));
  Node starved(2, 5, 24, 16);
  starved.context.refuses_memory = true;
  CHECK(has(kernel.run(starved), "out of GPU memory"));
  CHECK(launch.calls == 0);
  Node none(0, 5, 24, 16);
  CHECK(kernel.run(none).empty() && launch.calls == 0);
  CHECK((none.context.output.shape == std::vector<std::int64_t>{0, 5, 24}));
  Node failing(2, 5, 24, 16);
  launch.error = "an illegal memory access was encountered";
  CHECK(has(kernel.run(failing), "vim_deploy::SelectiveScan: an illegal memory access"));
  CHECK(scratch_given == scratch_freed);
}

void check_fused() {
  const Registered registered;
  const OpDomain& domain = *registered.options.domains.at(1);
  CHECK(domain.name == "vim_deploy.fused" && domain.operators.size() == 6);
  const Type types[] = {Type::kFloat32, Type::kFloat16, Type::kBFloat16};
  const ElementType elements[] = {kFloat, kFloat16, kBFloat16};
  for (std::size_t i = 0; i < 6; ++i) {
    const int index = i < 3 ? 1 : 2;
    const vim_gpu::Operator& spec = vim_gpu::operator_at(index);
    const CustomOp& op = registered.op(i, 1);
    CHECK(std::string(op.GetName(&op)) == spec.name && op.GetStartVersion(&op) == vim_fused::kVersion);
    CHECK(op.GetOutputTypeCount(&op) == static_cast<std::size_t>(spec.output_count));
    for (std::int32_t k = 0; k < spec.input_count; ++k) {
      const bool wide = spec.inputs[k].type == vim_contract::InputType::kFloat32;
      CHECK(op.GetInputType(&op, static_cast<std::size_t>(k)) == (wide ? kFloat : elements[i % 3]));
    }
    launch = {};
    Kernel kernel(op, KernelInfo{{{"delta_softplus", 1}, {"average_directions", 1}}});
    Node node(2, 5, 24, 16, 1, index);
    CHECK(kernel.run(node).empty() && launch.calls == 1);
    CHECK((node.context.output.shape == std::vector<std::int64_t>{2, 5, 24}));
    if (index == 1) {
      const vim_fused::CudaScanPair& call = launch.pair;
      CHECK(call.batch == 2 && call.length == 5 && call.channels == 24 && call.state == 16 && call.rank == 3);
      CHECK(call.type == types[i % 3] && call.delta_softplus && call.scale == 0.5f);
      CHECK(call.xz == node.values[0].memory.data() && call.directions[1].u == node.values[7].memory.data());
      CHECK(call.y == node.context.output.memory.data() && call.workspace != nullptr);
      CHECK(scratch_bytes == vim_fused::pair_workspace_bytes(2, 5, 24, 16));
    } else {
      const vim_fused::CudaConvPair& call = launch.conv;
      CHECK(call.batch == 2 && call.length == 5 && call.channels == 24 && call.width == 4);
      CHECK(call.type == types[i % 3] && static_cast<const void*>(call.directions[1].bias) == node.values[4].memory.data());
      CHECK(call.directions[0].u == node.context.output.memory.data());
      CHECK(call.directions[1].u == node.context.second_output.memory.data());
      CHECK(node.context.second_output.shape == node.context.output.shape);
    }
    Node wrong(2, 5, 24, 16, 1, index);
    wrong.values[0].shape[2] = 47;
    CHECK(has(kernel.run(wrong), "input xz has shape (2, 5, 47), expected (batch, length, 2 * channels)"));
    CHECK(launch.calls == 1 && scratch_given == scratch_freed);
  }
  Kernel pair(registered.op(0, 1), KernelInfo{{{"delta_softplus", 1}, {"average_directions", 0}}});
  Node large(1, 5, 24, 17, 1, 1);
  CHECK(has(pair.run(large), "vim_deploy.fused::ScanPair: ScanPair: the state size is above 16"));
}

}  // namespace

int main() {
  check_registration();
  check_old_runtime();
  check_attributes();
  check_launches();
  check_forms();
  check_refusals();
  check_fused();
  std::printf("ONNX Runtime's CUDA operator against a fake: %d failures\n", trt_test::failures);
  return trt_test::failures == 0 ? 0 : 1;
}
