// What the TensorRT plugin accepts, without TensorRT. With the argument `describe`: prints it as JSON.
#include <cstring>
#include <string>
#include <vector>

#include "launch_double.h"
#include "trt_plugin_core.h"

namespace {

using vim_trt::Element;
using vim_trt::Field;
using vim_trt::Settings;
using vim_trt::Tensor;

constexpr Element kElements[] = {Element::kFloat32, Element::kFloat16, Element::kBFloat16, Element::kOther};
constexpr const char* kElementNames[] = {"float32", "float16", "bfloat16", "other"};

std::vector<Tensor> inputs_of(Element element) {
  const Element fixed = Element::kFloat32;
  return {{element, true, 3, {2, 5, 24}}, {element, true, 3, {2, 5, 24}}, {fixed, true, 2, {24, 16, -1}},
          {element, true, 3, {2, 5, 16}}, {element, true, 3, {2, 5, 16}}, {fixed, true, 1, {24, -1, -1}},
          {element, true, 3, {2, 5, 24}}, {fixed, true, 1, {24, -1, -1}}};
}

void check_inputs() {
  for (const Element element : kElements) {
    CHECK((vim_trt::inputs_error(inputs_of(element).data()) == nullptr) == (element != Element::kOther));
  }
  for (int position = 0; position < vim_trt::kInputs; ++position) {
    const int rank = vim_trt::kPorts[position].rank;
    for (int dimension = 0; dimension < rank; ++dimension) {
      std::vector<Tensor> inputs = inputs_of(Element::kFloat16);
      inputs[position].dims[dimension] = -1;
      CHECK(vim_trt::inputs_error(inputs.data()) == nullptr);  // not known yet
      inputs[position].dims[dimension] = 7;
      CHECK(vim_trt::inputs_error(inputs.data()) != nullptr);
    }
    std::vector<Tensor> inputs = inputs_of(Element::kFloat16);
    inputs[position].linear = false;
    CHECK(vim_trt::inputs_error(inputs.data()) != nullptr);
  }
}

void check_fields() {
  const std::int32_t zero = 0, one = 1, two = 2;
  Settings settings{};
  const Field good[] = {{"reverse", &one, true, 1}, {"delta_softplus", &zero, true, 1}};
  CHECK(vim_trt::read_fields(good, 2, settings) == nullptr);
  CHECK(settings.reverse == 1 && settings.delta_softplus == 0);
  const Field bad[][2] = {
      {{"reverse", &one, true, 1}, {"reverse", &one, true, 1}},
      {{"reverse", &two, true, 1}, {"delta_softplus", &one, true, 1}},
      {{"reverse", &one, false, 1}, {"delta_softplus", &one, true, 1}},
      {{"reverse", &one, true, 2}, {"delta_softplus", &one, true, 1}},
      {{"reverse", nullptr, true, 1}, {"delta_softplus", &one, true, 1}},
      {{nullptr, &one, true, 1}, {"delta_softplus", &one, true, 1}},
      {{"Reverse", &one, true, 1}, {"delta_softplus", &one, true, 1}},
  };
  for (const auto& fields : bad) CHECK(vim_trt::read_fields(fields, 2, settings) != nullptr);
  CHECK(vim_trt::read_fields(good, 1, settings) != nullptr);
  CHECK(vim_trt::read_fields(nullptr, 0, settings) != nullptr);
}

void check_serialisation() {
  std::vector<char> bytes(vim_trt::kSerializedBytes);
  for (const std::int32_t softplus : {0, 1}) {
    for (const std::int32_t reverse : {0, 1}) {
      vim_trt::serialize({softplus, reverse}, bytes.data());
      Settings settings{};
      CHECK(vim_trt::deserialize(bytes.data(), bytes.size(), settings) == nullptr);
      CHECK(settings.delta_softplus == softplus && settings.reverse == reverse);
    }
  }
  Settings settings{};
  CHECK(vim_trt::deserialize(bytes.data(), bytes.size() - 1, settings) != nullptr);
  bytes[0] = 'X';
  CHECK(vim_trt::deserialize(bytes.data(), bytes.size(), settings) != nullptr);
}

void check_enqueue() {
  char memory[9];
  const void* inputs[8];
  for (int i = 0; i < 8; ++i) inputs[i] = &memory[i];
  void* outputs[1] = {&memory[8]};
  std::vector<Tensor> tensors = inputs_of(Element::kBFloat16);
  CHECK(vim_trt::enqueue({1, 0}, tensors.data(), inputs, outputs, memory, nullptr) == nullptr);
  const vim_scan::CudaArguments& call = trt_test::launch.arguments;
  CHECK(call.batch == 2 && call.length == 5 && call.channels == 24 && call.state == 16);
  CHECK(call.type == vim_scan::Type::kBFloat16 && call.delta_softplus && !call.reverse);
  tensors[vim_trt::kC].dims[2] = 15;
  CHECK(vim_trt::enqueue({1, 0}, tensors.data(), inputs, outputs, memory, nullptr) != nullptr);
  CHECK(trt_test::launch.calls == 1);
}

// The accepted types of every port, with the other ports of one type at a time.
void describe() {
  std::printf("{\"name\": \"%s\", \"version\": \"%s\", \"namespace\": \"%s\",\n", vim_trt::kName, vim_trt::kVersion,
              vim_trt::kNamespace);
  std::printf(" \"fields\": [\"%s\", \"%s\"], \"inputs\": %d, \"largest_state\": %d, \"ports\": [",
              vim_trt::kFieldSoftplus, vim_trt::kFieldReverse, vim_trt::kInputs,
              static_cast<int>(vim_scan::kCudaMaxState));
  for (int position = 0; position < vim_trt::kInputs + vim_trt::kOutputs; ++position) {
    const vim_trt::Port& port = vim_trt::kPorts[position];
    std::string types;
    for (int of_u = 0; of_u < 3; ++of_u) {
      for (int own = 0; own < 4; ++own) {
        const Tensor tensor{kElements[own], true, port.rank, {-1, -1, -1}};
        const Tensor u{kElements[of_u], true, 3, {-1, -1, -1}};
        if (!vim_trt::accepts(position, tensor, u)) continue;
        types += std::string(types.empty() ? "" : ", ") + "[\"" + kElementNames[of_u] + "\", \"" + kElementNames[own] +
                 "\"]";
      }
    }
    std::printf("%s\n  {\"name\": \"%s\", \"rank\": %d, \"types\": [%s]}", position ? "," : "", port.name, port.rank,
                types.c_str());
  }
  std::printf("]}\n");
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1 && std::strcmp(arguments[1], "describe") == 0) {
    describe();
    return 0;
  }
  check_inputs();
  check_fields();
  check_serialisation();
  check_enqueue();
  std::printf("TensorRT plugin's core: %d failures\n", trt_test::failures);
  return trt_test::failures == 0 ? 0 : 1;
}
