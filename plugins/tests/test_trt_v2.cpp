// Calls every method of the TensorRT 8.6 plugin as TensorRT does, only through the exported functions.
#include <memory>

#include "contract_fused.h"
#include "trt_test.h"

extern "C" nvinfer1::IPluginCreator* const* getPluginCreators(std::int32_t& count);
extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);

namespace {

using namespace nvinfer1;
using trt_test::FieldSet;

constexpr DataType kTypes[] = {DataType::kFLOAT, DataType::kHALF};

struct Expressions final : IExprBuilder {};

struct Destroy {
  void operator()(IPluginV2DynamicExt* plugin) const { plugin->destroy(); }
};
using Owned = std::unique_ptr<IPluginV2DynamicExt, Destroy>;

Owned own(void* plugin) { return Owned(static_cast<IPluginV2DynamicExt*>(plugin)); }

IPluginCreator* creator(int index = 0) {
  std::int32_t count = 0;
  IPluginCreator* const* creators = getPluginCreators(count);
  CHECK(count == 3);
  return creators[index];
}

Owned make(std::int32_t softplus, std::int32_t reverse) {
  FieldSet fields;
  fields.add("reverse", reverse).add("delta_softplus", softplus).add_others();
  return own(creator()->createPlugin("node", fields.get()));
}

void check_creator(trt_test::Log& log) {
  CHECK(std::string(creator()->getPluginName()) == "SelectiveScan");
  CHECK(std::string(creator()->getPluginVersion()) == "2");
  CHECK(std::string(creator()->getPluginNamespace()) == "vim_deploy");
  CHECK(creator()->getTensorRTVersion() != 0);
  const PluginFieldCollection* names = creator()->getFieldNames();
  CHECK(names->nbFields == 4);
  CHECK(std::string(names->fields[0].name) == "delta_softplus" && std::string(names->fields[1].name) == "reverse");
  for (FieldSet& fields : trt_test::wrong_fields()) {
    const int before = log.errors;
    CHECK(creator()->createPlugin("node", fields.get()) == nullptr);
    CHECK(log.errors == before + 1);
  }
  creator()->setPluginNamespace("elsewhere");
  CHECK(std::string(creator()->getPluginNamespace()) == "elsewhere");
  CHECK(std::string(make(1, 0)->getPluginNamespace()) == "elsewhere");
  creator()->setPluginNamespace("vim_deploy");
}

void check_identity() {
  const Owned plugin = make(1, 0);
  CHECK(std::string(plugin->getPluginType()) == "SelectiveScan");
  CHECK(std::string(plugin->getPluginVersion()) == "2");
  CHECK(std::string(plugin->getPluginNamespace()) == "vim_deploy");
  CHECK(plugin->getNbOutputs() == 1);
  CHECK(plugin->initialize() == 0);
  plugin->terminate();
  plugin->setPluginNamespace(nullptr);
  CHECK(std::string(plugin->getPluginNamespace()).empty());
}

void check_formats() {
  const Owned plugin = make(1, 0);
  constexpr DataType kAll[] = {DataType::kFLOAT, DataType::kHALF, DataType::kINT8,
                               DataType::kINT32, DataType::kBOOL, DataType::kUINT8};
  for (const DataType type : kTypes) {
    for (int position = 0; position < 9; ++position) {
      for (const DataType offered : kAll) {
        auto tensors = trt_test::tensors_of(type, 1, 5, 3, 16);
        if (position == 0 && offered != type) continue;  // position 0 sets the type
        tensors[position].type = offered;
        const bool fixed = trt_test::is_float32(trt_test::scan(), position);
        CHECK(plugin->supportsFormatCombination(position, tensors.data(), 8, 1) ==
              (offered == (fixed ? DataType::kFLOAT : type)));
        tensors[position].format = TensorFormat::kCHW32;
        CHECK(!plugin->supportsFormatCombination(position, tensors.data(), 8, 1));
      }
    }
  }
  const auto tensors = trt_test::tensors_of(DataType::kINT8, 1, 5, 3, 16);
  CHECK(!plugin->supportsFormatCombination(0, tensors.data(), 8, 1));
}

void check_shapes(trt_test::Log& log) {
  const Owned plugin = make(1, 0);
  DataType types[8];
  for (DataType& type : types) type = DataType::kHALF;
  CHECK(plugin->getOutputDataType(0, types, 8) == DataType::kHALF);
  DimsExprs inputs[8]{};
  inputs[0].nbDims = 3;
  Expressions expressions;
  CHECK(plugin->getOutputDimensions(0, inputs, 8, expressions).nbDims == 3);
  const auto tensors = trt_test::tensors_of(DataType::kHALF, 64, 197, 384, 16);
  const int before = log.errors;
  plugin->configurePlugin(trt_test::dynamic(tensors).data(), 8, nullptr, 1);
  CHECK(log.errors == before);
  plugin->configurePlugin(trt_test::dynamic(tensors).data(), 7, nullptr, 1);
  CHECK(log.errors == before + 1);
  CHECK(plugin->getWorkspaceSize(tensors.data(), 8, &tensors[8], 1) == vim_scan::cuda_workspace_bytes(384, 16));
}

void check_enqueue() {
  char memory[9];
  const void* inputs[8];
  for (int i = 0; i < 8; ++i) inputs[i] = &memory[i];
  void* outputs[1] = {&memory[8]};
  const auto stream = reinterpret_cast<cudaStream_t>(memory);
  const Owned plugin = make(0, 1);
  for (const DataType type : kTypes) {
    const auto tensors = trt_test::tensors_of(type, 2, 5, 24, 16);
    CHECK(plugin->enqueue(tensors.data(), &tensors[8], inputs, outputs, memory, stream) == 0);
    const vim_scan::CudaArguments& call = trt_test::launch.arguments;
    CHECK(call.batch == 2 && call.length == 5 && call.channels == 24 && call.state == 16);
    CHECK(!call.delta_softplus && call.reverse && trt_test::launch.stream == stream);
    CHECK(call.type == (type == DataType::kFLOAT ? vim_scan::Type::kFloat32 : vim_scan::Type::kFloat16));
    CHECK(call.u == inputs[0] && call.z == inputs[6] && call.y == outputs[0] && call.workspace == memory);
  }
  const int calls = trt_test::launch.calls;
  auto wrong = trt_test::tensors_of(DataType::kHALF, 2, 5, 24, 16);
  wrong[vim_contract::kZ].dims.d[1] = 6;
  CHECK(plugin->enqueue(wrong.data(), &wrong[8], inputs, outputs, memory, stream) != 0);
  CHECK(trt_test::launch.calls == calls);
}

std::vector<char> bytes_of(const IPluginV2DynamicExt& plugin) {
  std::vector<char> bytes(plugin.getSerializationSize());  // exact size, for the sanitizer
  plugin.serialize(bytes.data());
  return bytes;
}

void check_serialization() {
  for (const std::int32_t softplus : {0, 1}) {
    for (const std::int32_t reverse : {0, 1}) {
      Owned original = make(softplus, reverse);
      const Owned copy = own(original->clone());
      original.reset();
      std::vector<char> bytes = bytes_of(*copy);
      const Owned again = own(creator()->deserializePlugin("node", bytes.data(), bytes.size()));
      CHECK(again != nullptr && bytes_of(*again) == bytes);
      vim_trt::Settings settings{};
      CHECK(vim_trt::deserialize(trt_test::scan(), bytes.data(), bytes.size(), settings) == nullptr);
      CHECK(settings.value[0] == softplus && settings.value[1] == reverse);
      for (std::size_t i = 0; i < bytes.size(); ++i) {  // every damaged byte is detected
        std::vector<char> damaged = bytes;
        damaged[i] = static_cast<char>(damaged[i] ^ 0x40);
        CHECK(creator()->deserializePlugin("node", damaged.data(), damaged.size()) == nullptr);
      }
      CHECK(creator()->deserializePlugin("node", bytes.data(), bytes.size() - 1) == nullptr);
    }
  }
  CHECK(creator()->deserializePlugin("node", nullptr, 0) == nullptr);
}

// The fused operators, through the same adapter.
void check_fused(int index) {
  const vim_gpu::Operator& op = vim_gpu::operator_at(index);
  FieldSet fields;
  for (int i = 0; i < op.attribute_count; ++i) fields.add(op.attributes[i].name, 1);
  CHECK(std::string(creator(index)->getPluginName()) == op.name);
  CHECK(std::string(creator(index)->getPluginVersion()) == vim_fused::kVersionText);
  CHECK(std::string(creator(index)->getPluginNamespace()) == "vim_deploy.fused");
  const Owned made = own(creator(index)->createPlugin("node", fields.get()));
  CHECK(made != nullptr);
  std::vector<char> bytes = bytes_of(*made);
  CHECK(creator(0)->deserializePlugin("node", bytes.data(), bytes.size()) == nullptr);  // of another operator
  const Owned plugin = own(creator(index)->deserializePlugin("node", bytes.data(), bytes.size()));
  CHECK(plugin != nullptr);
  const int inputs = op.input_count, outputs = op.output_count;
  CHECK(plugin->getNbOutputs() == outputs);
  for (const DataType type : kTypes) {
    const auto tensors = trt_test::tensors_of(op, type, 2, 5, 24, 16);
    for (int position = 0; position < inputs + outputs; ++position) {
      CHECK(plugin->supportsFormatCombination(position, tensors.data(), inputs, outputs));
      auto other = tensors;
      other[position].type = DataType::kINT8;
      CHECK(!plugin->supportsFormatCombination(position, other.data(), inputs, outputs));
    }
  }
  DimsExprs shapes[vim_gpu::kMaxInputs]{};
  int sizes[vim_gpu::kMaxInputs][3];
  for (int i = 0; i < inputs; ++i)
    for (int k = 0; k < 3; ++k) shapes[i].d[k] = reinterpret_cast<const IDimensionExpr*>(&sizes[i][k]);
  Expressions expressions;
  for (int i = 0; i < outputs; ++i) {
    const DimsExprs result = plugin->getOutputDimensions(i, shapes, inputs, expressions);
    CHECK(result.nbDims == 3 && result.d[0] == shapes[0].d[0] && result.d[1] == shapes[0].d[1]);
    CHECK(result.d[2] == shapes[1].d[index == 1 ? 2 : 1]);  // of u, or of the taps
  }
  // The workspace is that of the largest sizes, also if it is requested for smaller ones.
  const auto small = trt_test::tensors_of(op, DataType::kHALF, 1, 197, 384, 16);
  plugin->configurePlugin(trt_test::dynamic(trt_test::tensors_of(op, DataType::kHALF, 8, 197, 384, 16)).data(), inputs,
                          nullptr, outputs);
  const Owned copy = own(plugin->clone());
  CHECK(copy->getWorkspaceSize(small.data(), inputs, &small[inputs], outputs) ==
        (index == 1 ? vim_fused::pair_workspace_bytes(8, 197, 384, 16) : 0));
  char memory[vim_gpu::kMaxInputs + vim_gpu::kMaxOutputs + 1];
  const void* from[vim_gpu::kMaxInputs];
  void* to[vim_gpu::kMaxOutputs];
  for (int i = 0; i < inputs; ++i) from[i] = &memory[i];
  for (int i = 0; i < outputs; ++i) to[i] = &memory[inputs + i];
  const auto stream = reinterpret_cast<cudaStream_t>(memory);
  for (const auto& tensors : trt_test::wrong_shapes(op))
    CHECK(plugin->enqueue(tensors.data(), &tensors[inputs], from, to, memory, stream) != 0);
  const auto tensors = trt_test::tensors_of(op, DataType::kHALF, 2, 5, 24, 16);
  CHECK(plugin->enqueue(tensors.data(), &tensors[inputs], from, to, memory, stream) == 0);
  CHECK(trt_test::was_launched(op, from, to, memory, vim_scan::Type::kFloat16) && trt_test::launch.stream == stream);
}

}  // namespace

int main() {
  CHECK(creator()->createPlugin("node", nullptr) == nullptr);  // without a logger: no crash
  trt_test::Finder finder;
  setLoggerFinder(&finder);
  check_creator(finder.log);
  check_identity();
  check_formats();
  check_shapes(finder.log);
  check_enqueue();
  check_serialization();
  check_fused(1);
  check_fused(2);
  setLoggerFinder(nullptr);
  return trt_test::finish("TensorRT plugin, version 2 interface");
}
