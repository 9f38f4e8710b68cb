// Calls every method of the TensorRT 10 and 11 plugin as TensorRT does, only through the exported functions.
#include <memory>

#include "contract_fused.h"
#include "trt_test.h"

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count);
extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);

namespace {

using namespace nvinfer1;
using trt_test::FieldSet;

constexpr DataType kTypes[] = {DataType::kFLOAT, DataType::kHALF, DataType::kBF16};

struct Expressions final : IExprBuilder {};

IPluginCreatorV3One* creator(int index = 0) {
  std::int32_t count = 0;
  IPluginCreatorInterface* const* creators = getCreators(count);
  CHECK(count == 3);
  CHECK(std::string(creators[index]->getInterfaceInfo().kind) == "PLUGIN CREATOR_V3ONE");
  return static_cast<IPluginCreatorV3One*>(creators[index]);
}

std::unique_ptr<IPluginV3> make(std::int32_t softplus, std::int32_t reverse, TensorRTPhase phase) {
  FieldSet fields;
  fields.add("reverse", reverse).add("delta_softplus", softplus).add_others();
  return std::unique_ptr<IPluginV3>(creator()->createPlugin("node", fields.get(), phase));
}

IPluginV3OneBuild* build_of(IPluginV3& plugin) {
  return static_cast<IPluginV3OneBuild*>(plugin.getCapabilityInterface(PluginCapabilityType::kBUILD));
}

IPluginV3OneRuntime* runtime_of(IPluginV3& plugin) {
  return static_cast<IPluginV3OneRuntime*>(plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}

void check_creator(trt_test::Log& log) {
  CHECK(std::string(creator()->getPluginName()) == "SelectiveScan");
  CHECK(std::string(creator()->getPluginVersion()) == "2");
  CHECK(std::string(creator()->getPluginNamespace()) == "vim_deploy");
  const PluginFieldCollection* names = creator()->getFieldNames();
  CHECK(names->nbFields == 4);
  for (int i = 0; i < names->nbFields; ++i) {
    CHECK(names->fields[i].type == PluginFieldType::kINT32 && names->fields[i].length == 1);
  }
  CHECK(std::string(names->fields[0].name) == "delta_softplus" && std::string(names->fields[1].name) == "reverse");
  for (FieldSet& fields : trt_test::wrong_fields()) {
    const int before = log.errors;
    CHECK(creator()->createPlugin("node", fields.get(), TensorRTPhase::kBUILD) == nullptr);
    CHECK(log.errors == before + 1);
  }
  CHECK(creator()->createPlugin("node", nullptr, TensorRTPhase::kBUILD) == nullptr);
}

void check_core() {
  const auto plugin = make(1, 0, TensorRTPhase::kBUILD);
  CHECK(plugin != nullptr);
  auto* core = static_cast<IPluginV3OneCore*>(plugin->getCapabilityInterface(PluginCapabilityType::kCORE));
  CHECK(std::string(core->getPluginName()) == "SelectiveScan");
  CHECK(std::string(core->getPluginVersion()) == "2");
  CHECK(std::string(core->getPluginNamespace()) == "vim_deploy");
  CHECK(build_of(*plugin)->getNbOutputs() == 1);
  CHECK(build_of(*plugin)->getTimingCacheID() != nullptr);
  const auto other = make(1, 1, TensorRTPhase::kBUILD);
  CHECK(std::string(build_of(*plugin)->getTimingCacheID()) != build_of(*other)->getTimingCacheID());
}

void check_formats() {
  const auto plugin = make(1, 0, TensorRTPhase::kBUILD);
  IPluginV3OneBuild* build = build_of(*plugin);
  constexpr DataType kAll[] = {DataType::kFLOAT, DataType::kHALF,  DataType::kBF16, DataType::kINT8,
                               DataType::kINT32, DataType::kINT64, DataType::kBOOL, DataType::kUINT8};
  for (const DataType type : kTypes) {
    for (int position = 0; position < 9; ++position) {
      for (const DataType offered : kAll) {
        auto tensors = trt_test::dynamic(trt_test::tensors_of(type, 1, 5, 3, 16));
        if (position == 0 && offered != type) continue;  // position 0 sets the type
        tensors[position].desc.type = offered;
        const bool fixed = trt_test::is_float32(trt_test::scan(), position);
        CHECK(build->supportsFormatCombination(position, tensors.data(), 8, 1) ==
              (offered == (fixed ? DataType::kFLOAT : type)));
        tensors[position].desc.format = TensorFormat::kCHW32;
        CHECK(!build->supportsFormatCombination(position, tensors.data(), 8, 1));
      }
    }
  }
  auto tensors = trt_test::dynamic(trt_test::tensors_of(DataType::kINT8, 1, 5, 3, 16));
  CHECK(!build->supportsFormatCombination(0, tensors.data(), 8, 1));
  CHECK(!build->supportsFormatCombination(9, tensors.data(), 8, 1));
  CHECK(!build->supportsFormatCombination(0, tensors.data(), 7, 1));
}

void check_shapes() {
  const auto plugin = make(1, 0, TensorRTPhase::kBUILD);
  IPluginV3OneBuild* build = build_of(*plugin);
  DataType types[8], output{};
  for (DataType& type : types) type = DataType::kHALF;
  CHECK(build->getOutputDataTypes(&output, 1, types, 8) == 0 && output == DataType::kHALF);
  CHECK(build->getOutputDataTypes(&output, 1, types, 7) != 0);
  DimsExprs inputs[8]{}, outputs[1]{};
  int sizes[3];
  inputs[0].nbDims = 3;
  for (int i = 0; i < 3; ++i) inputs[0].d[i] = reinterpret_cast<const IDimensionExpr*>(&sizes[i]);
  Expressions expressions;
  CHECK(build->getOutputShapes(inputs, 8, nullptr, 0, outputs, 1, expressions) == 0);
  CHECK(outputs[0].nbDims == 3 && outputs[0].d[2] == inputs[0].d[2]);
  CHECK(build->getOutputShapes(inputs, 9, nullptr, 0, outputs, 1, expressions) != 0);

  auto tensors = trt_test::tensors_of(DataType::kHALF, -1, 197, 384, 16);
  CHECK(build->configurePlugin(trt_test::dynamic(tensors).data(), 8, nullptr, 1) == 0);
  CHECK(build->configurePlugin(trt_test::dynamic(tensors).data(), 7, nullptr, 1) != 0);
  const auto bytes = build->getWorkspaceSize(trt_test::dynamic(tensors).data(), 8, nullptr, 1);
  CHECK(bytes == vim_scan::cuda_workspace_bytes(384, 16) && bytes > 0);
}

void check_wrong_shapes() {
  const auto plugin = make(1, 0, TensorRTPhase::kRUNTIME);
  IPluginV3OneRuntime* runtime = runtime_of(*plugin);
  const auto good = trt_test::tensors_of(DataType::kHALF, 2, 5, 24, 16);
  CHECK(runtime->onShapeChange(good.data(), 8, &good[8], 1) == 0);
  for (int position = 0; position < 8; ++position) {
    for (int dimension = 0; dimension < good[position].dims.nbDims; ++dimension) {
      auto tensors = good;
      tensors[position].dims.d[dimension] += 1;
      CHECK(runtime->onShapeChange(tensors.data(), 8, &tensors[8], 1) != 0);
    }
    auto tensors = good;
    tensors[position].dims.nbDims += 1;
    CHECK(runtime->onShapeChange(tensors.data(), 8, &tensors[8], 1) != 0);
  }
  const auto large = trt_test::tensors_of(DataType::kHALF, 2, 5, 24, 257);
  CHECK(runtime->onShapeChange(large.data(), 8, &large[8], 1) != 0);
}

void check_enqueue(trt_test::Log& log) {
  char memory[9];
  const void* inputs[8];
  for (int i = 0; i < 8; ++i) inputs[i] = &memory[i];
  void* outputs[1] = {&memory[8]};
  const auto stream = reinterpret_cast<cudaStream_t>(&log);
  for (const DataType type : kTypes) {
    const auto plugin = make(0, 1, TensorRTPhase::kRUNTIME);
    std::unique_ptr<IPluginV3> attached(runtime_of(*plugin)->attachToContext(nullptr));
    CHECK(runtime_of(*attached)->setTactic(0) == 0);
    const auto tensors = trt_test::tensors_of(type, 2, 5, 24, 16);
    CHECK(runtime_of(*attached)->enqueue(tensors.data(), &tensors[8], inputs, outputs, memory, stream) == 0);
    const vim_scan::CudaArguments& call = trt_test::launch.arguments;
    CHECK(call.batch == 2 && call.length == 5 && call.channels == 24 && call.state == 16);
    CHECK(!call.delta_softplus && call.reverse && trt_test::launch.stream == stream);
    CHECK(call.type == (type == DataType::kFLOAT  ? vim_scan::Type::kFloat32
                        : type == DataType::kHALF ? vim_scan::Type::kFloat16 : vim_scan::Type::kBFloat16));
    CHECK(call.u == inputs[0] && call.delta == inputs[1] && call.A == inputs[2] && call.B == inputs[3]);
    CHECK(call.C == inputs[4] && call.D == inputs[5] && call.z == inputs[6] && call.delta_bias == inputs[7]);
    CHECK(call.y == outputs[0] && call.workspace == memory);
  }
  const auto plugin = make(1, 0, TensorRTPhase::kRUNTIME);
  const auto tensors = trt_test::tensors_of(DataType::kHALF, 2, 5, 24, 16);
  trt_test::launch.error = "no such device";
  CHECK(runtime_of(*plugin)->enqueue(tensors.data(), &tensors[8], inputs, outputs, memory, stream) != 0);
  CHECK(log.last == "no such device");
  trt_test::launch.error = nullptr;
  const int calls = trt_test::launch.calls;
  const auto wrong = trt_test::tensors_of(DataType::kINT8, 2, 5, 24, 16);
  CHECK(runtime_of(*plugin)->enqueue(wrong.data(), &wrong[8], inputs, outputs, memory, stream) != 0);
  CHECK(trt_test::launch.calls == calls);
}

// Deserialized plugins equal the serialized one, also from a clone whose original was destroyed.
void check_serialization() {
  for (const std::int32_t softplus : {0, 1}) {
    for (const std::int32_t reverse : {0, 1}) {
      auto original = make(softplus, reverse, TensorRTPhase::kBUILD);
      std::unique_ptr<IPluginV3> copy(original->clone());
      original.reset();
      const PluginFieldCollection* fields = runtime_of(*copy)->getFieldsToSerialize();
      const std::unique_ptr<IPluginV3> again(creator()->createPlugin("node", fields, TensorRTPhase::kRUNTIME));
      CHECK(again != nullptr);
      const std::string identity = build_of(*again)->getTimingCacheID();
      CHECK(identity == build_of(*copy)->getTimingCacheID());
      CHECK(identity == vim_trt::TimingCacheId(trt_test::scan(), {{{softplus, reverse, 1}}, 1}).text);
    }
  }
}

// The fused operators, through the same adapter.
void check_fused(int index) {
  const vim_gpu::Operator& op = vim_gpu::operator_at(index);
  FieldSet fields;
  for (int i = 0; i < op.attribute_count; ++i) fields.add(op.attributes[i].name, 1);
  CHECK(std::string(creator(index)->getPluginName()) == op.name);
  CHECK(std::string(creator(index)->getPluginVersion()) == vim_fused::kVersionText);
  CHECK(std::string(creator(index)->getPluginNamespace()) == "vim_deploy.fused");
  CHECK(creator(index)->getFieldNames()->nbFields == op.attribute_count);
  const std::unique_ptr<IPluginV3> made(creator(index)->createPlugin("node", fields.get(), TensorRTPhase::kBUILD));
  CHECK(made != nullptr);
  const PluginFieldCollection* kept = runtime_of(*made)->getFieldsToSerialize();
  const std::unique_ptr<IPluginV3> plugin(creator(index)->createPlugin("node", kept, TensorRTPhase::kRUNTIME));
  CHECK(plugin != nullptr);
  const int inputs = op.input_count, outputs = op.output_count;
  IPluginV3OneBuild* build = build_of(*plugin);
  CHECK(std::string(build->getTimingCacheID()) == build_of(*made)->getTimingCacheID());
  CHECK(build->getNbOutputs() == outputs);
  for (const DataType type : kTypes) {
    const auto tensors = trt_test::dynamic(trt_test::tensors_of(op, type, 2, 5, 24, 16));
    for (int position = 0; position < inputs + outputs; ++position) {
      CHECK(build->supportsFormatCombination(position, tensors.data(), inputs, outputs));
      auto other = tensors;
      other[position].desc.type = DataType::kINT8;
      CHECK(!build->supportsFormatCombination(position, other.data(), inputs, outputs));
    }
  }
  DimsExprs shapes[vim_gpu::kMaxInputs]{}, results[vim_gpu::kMaxOutputs]{};
  int sizes[vim_gpu::kMaxInputs][3];
  for (int i = 0; i < inputs; ++i)
    for (int k = 0; k < 3; ++k) shapes[i].d[k] = reinterpret_cast<const IDimensionExpr*>(&sizes[i][k]);
  Expressions expressions;
  CHECK(build->getOutputShapes(shapes, inputs, nullptr, 0, results, outputs, expressions) == 0);
  for (int i = 0; i < outputs; ++i) {
    CHECK(results[i].nbDims == 3 && results[i].d[0] == shapes[0].d[0] && results[i].d[1] == shapes[0].d[1]);
    CHECK(results[i].d[2] == shapes[1].d[index == 1 ? 2 : 1]);  // of u, or of the taps
  }
  auto dynamic = trt_test::dynamic(trt_test::tensors_of(op, DataType::kHALF, -1, 197, 384, 16));
  for (auto& tensor : dynamic)
    if (tensor.max.d[0] < 0) tensor.max.d[0] = 8;
  CHECK(build->configurePlugin(dynamic.data(), inputs, nullptr, outputs) == 0);
  CHECK(build->getWorkspaceSize(dynamic.data(), inputs, nullptr, outputs) ==
        (index == 1 ? vim_fused::pair_workspace_bytes(8, 197, 384, 16) : 0));
  for (const auto& tensors : trt_test::wrong_shapes(op))
    CHECK(runtime_of(*plugin)->onShapeChange(tensors.data(), inputs, &tensors[inputs], outputs) != 0);
  char memory[vim_gpu::kMaxInputs + vim_gpu::kMaxOutputs + 1];
  const void* from[vim_gpu::kMaxInputs];
  void* to[vim_gpu::kMaxOutputs];
  for (int i = 0; i < inputs; ++i) from[i] = &memory[i];
  for (int i = 0; i < outputs; ++i) to[i] = &memory[inputs + i];
  const auto tensors = trt_test::tensors_of(op, DataType::kBF16, 2, 5, 24, 16);
  const auto stream = reinterpret_cast<cudaStream_t>(memory);
  CHECK(runtime_of(*plugin)->enqueue(tensors.data(), &tensors[inputs], from, to, memory, stream) == 0);
  CHECK(trt_test::was_launched(op, from, to, memory, vim_scan::Type::kBFloat16) && trt_test::launch.stream == stream);
}

}  // namespace

int main() {
  CHECK(creator()->createPlugin("node", nullptr, TensorRTPhase::kBUILD) == nullptr);  // without a logger: no crash
  trt_test::Finder finder;
  setLoggerFinder(&finder);
  check_creator(finder.log);
  check_core();
  check_formats();
  check_shapes();
  check_wrong_shapes();
  check_enqueue(finder.log);
  check_serialization();
  check_fused(1);
  check_fused(2);
  setLoggerFinder(nullptr);
  return trt_test::finish("TensorRT plugin, version 3 interface");
}
