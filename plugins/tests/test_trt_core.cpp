// Tests of the TensorRT plugin without TensorRT. With the argument `describe`: prints what it supports as JSON.
#include <cstring>
#include <string>
#include <vector>

#include "launch_fake.h"
#include "trt_plugin_core.h"

namespace {

using vim_trt::Element;
using vim_trt::Field;
using vim_trt::Settings;
using vim_trt::Tensor;

const vim_trt::Operator& scan() { return vim_gpu::operator_at(0); }

constexpr Element kElements[] = {Element::kFloat32, Element::kFloat16, Element::kBFloat16, Element::kOther};
constexpr const char* kElementNames[] = {"float32", "float16", "bfloat16", "other"};

constexpr Settings settings_of(std::int32_t softplus, std::int32_t reverse, std::int32_t groups = 1,
                               std::int32_t gated = 1) {
  return {{{softplus, reverse, groups}}, gated};
}
constexpr Settings kPlain = settings_of(1, 0);

std::vector<Tensor> inputs_of(Element element, std::int32_t groups = 1) {
  const std::int64_t kSizesHere[] = {2, 5, 24, 16, 16 * groups, 0, 0, 0, 0};
  std::vector<Tensor> tensors;
  for (const vim_contract::InputSpec& spec : vim_contract::kInputSpecs) {
    const bool float32 = spec.type == vim_contract::InputType::kFloat32;
    const auto rank = static_cast<std::int32_t>(spec.shape.rank);
    Tensor tensor{float32 ? Element::kFloat32 : element, true, rank, {-1, -1, -1}};
    for (std::size_t i = 0; i < spec.shape.rank; ++i) tensor.dims[i] = kSizesHere[spec.shape.sizes[i]];
    tensors.push_back(tensor);
  }
  return tensors;
}

void check_inputs() {
  for (const Element element : kElements) {
    CHECK((vim_trt::inputs_error(scan(), kPlain, inputs_of(element).data()) == nullptr) == (element != Element::kOther));
  }
  for (int position = 0; position < scan().input_count; ++position) {
    const int rank = static_cast<int>(vim_contract::kInputSpecs[position].shape.rank);
    for (int dimension = 0; dimension < rank; ++dimension) {
      std::vector<Tensor> inputs = inputs_of(Element::kFloat16);
      inputs[position].dims[dimension] = -1;
      CHECK(vim_trt::inputs_error(scan(), kPlain, inputs.data()) == nullptr);  // not known yet
      inputs[position].dims[dimension] = 7;
      CHECK(vim_trt::inputs_error(scan(), kPlain, inputs.data()) != nullptr);
    }
    std::vector<Tensor> inputs = inputs_of(Element::kFloat16);
    inputs[position].linear = false;
    CHECK(vim_trt::inputs_error(scan(), kPlain, inputs.data()) != nullptr);
  }
  CHECK(vim_trt::inputs_error(scan(), settings_of(1, 0, 3), inputs_of(Element::kFloat16, 3).data()) == nullptr);
  CHECK(vim_trt::inputs_error(scan(), settings_of(1, 0, 3), inputs_of(Element::kFloat16).data()) != nullptr);
  CHECK(vim_trt::inputs_error(scan(), settings_of(1, 0, 5), inputs_of(Element::kFloat16, 5).data()) != nullptr);
}

void check_fields() {
  const std::int32_t zero = 0, one = 1, two = 2;
  Settings settings{};
  const Field good[] = {{"reverse", &one, true, 1}, {"gated", &zero, true, 1}, {"groups", &two, true, 1},
                        {"delta_softplus", &zero, true, 1}};
  CHECK(vim_trt::read_fields(scan(), good, 4, settings) == nullptr);
  CHECK(settings.value[1] == 1 && settings.value[0] == 0 && settings.value[2] == 2 && settings.gated == 0);
  const Field bad[][2] = {
      {{"reverse", &one, true, 1}, {"reverse", &one, true, 1}},
      {{"reverse", &two, true, 1}, {"delta_softplus", &one, true, 1}},
      {{"reverse", &one, false, 1}, {"delta_softplus", &one, true, 1}},
      {{"reverse", &one, true, 2}, {"delta_softplus", &one, true, 1}},
      {{"reverse", nullptr, true, 1}, {"delta_softplus", &one, true, 1}},
      {{nullptr, &one, true, 1}, {"delta_softplus", &one, true, 1}},
      {{"Reverse", &one, true, 1}, {"delta_softplus", &one, true, 1}},
  };
  for (const auto& pair : bad) {
    const Field fields[] = {pair[0], pair[1], good[1], good[2]};
    CHECK(vim_trt::read_fields(scan(), fields, 4, settings) != nullptr);
  }
  const Field no_groups[] = {good[0], good[1], {"groups", &zero, true, 1}, good[3]};
  CHECK(vim_trt::read_fields(scan(), no_groups, 4, settings) != nullptr);
  CHECK(vim_trt::read_fields(scan(), good, 3, settings) != nullptr);
  CHECK(vim_trt::read_fields(scan(), nullptr, 0, settings) != nullptr);
}

void check_serialization() {
  std::vector<char> bytes(vim_trt::kSerializedBytes);
  Settings settings{};
  for (const std::int32_t softplus : {0, 1}) {
    for (const std::int32_t reverse : {0, 1}) {
      vim_trt::serialize(scan(), settings_of(softplus, reverse, 4, reverse), bytes.data());
      CHECK(vim_trt::deserialize(scan(), bytes.data(), bytes.size(), settings) == nullptr);
      CHECK(settings.value[0] == softplus && settings.value[1] == reverse);
      CHECK(settings.value[2] == 4 && settings.gated == reverse);
    }
  }
  CHECK(vim_trt::deserialize(scan(), bytes.data(), bytes.size() - 1, settings) != nullptr);
  bytes[0] = 'X';
  CHECK(vim_trt::deserialize(scan(), bytes.data(), bytes.size(), settings) != nullptr);
}

void check_timing_cache_ids() {
  const Settings all[] = {kPlain, settings_of(0, 0), settings_of(1, 1), settings_of(1, 0, 4), settings_of(1, 0, 1, 0)};
  for (const Settings& one : all)
    for (const Settings& other : all)
      CHECK((std::string(vim_trt::TimingCacheId(scan(), one).text) == vim_trt::TimingCacheId(scan(), other).text) == (&one == &other));
}

void check_enqueue() {
  char memory[9];
  const void* inputs[8];
  for (int i = 0; i < 8; ++i) inputs[i] = &memory[i];
  void* outputs[1] = {&memory[8]};
  std::vector<Tensor> tensors = inputs_of(Element::kBFloat16);
  CHECK(vim_trt::enqueue(scan(), kPlain, tensors.data(), inputs, outputs, memory, nullptr) == nullptr);
  const vim_scan::CudaArguments& call = trt_test::launch.arguments;
  CHECK(call.batch == 2 && call.length == 5 && call.channels == 24 && call.state == 16);
  CHECK(call.type == vim_scan::Type::kBFloat16 && call.delta_softplus && !call.reverse);
  tensors[vim_contract::kC].dims[2] = 15;
  CHECK(vim_trt::enqueue(scan(), kPlain, tensors.data(), inputs, outputs, memory, nullptr) != nullptr);
  CHECK(trt_test::launch.calls == 1);
  CHECK(call.groups == 1 && call.z == inputs[6]);
  tensors = inputs_of(Element::kFloat32, 4);
  CHECK(vim_trt::enqueue(scan(), settings_of(1, 0, 4, 0), tensors.data(), inputs, outputs, memory, nullptr) == nullptr);
  CHECK(call.groups == 4 && call.z == nullptr && call.delta_bias == inputs[7]);
}

// The supported types of every tensor, for each type of u.
void describe() {
  std::printf("{\"name\": \"%s\", \"version\": \"%s\", \"namespace\": \"%s\",\n", scan().name, scan().version,
              scan().domain);
  std::printf(" \"largest_state\": %d, \"attributes\": [", static_cast<int>(vim_scan::kCudaMaxState));
  for (std::int32_t i = 0; i < vim_trt::field_count(scan()); ++i)
    std::printf("%s\"%s\"", i == 0 ? "" : ", ", vim_trt::field_spec(scan(), i).name);
  std::printf("], \"tensors\": [");
  for (int position = 0; position < scan().input_count + scan().output_count; ++position) {
    const bool is_input = position < scan().input_count;
    const char* name = is_input ? vim_contract::kInputSpecs[position].name : "y";
    const char* shape = is_input ? vim_contract::kInputSpecs[position].shape_text : "(batch, length, channels)";
    std::string types;
    for (int of_u = 0; of_u < 3; ++of_u) {
      for (int own = 0; own < 4; ++own) {
        const Tensor tensor{kElements[own], true, 3, {-1, -1, -1}};
        const Tensor u{kElements[of_u], true, 3, {-1, -1, -1}};
        if (!vim_trt::accepts(scan(), position, tensor, u)) continue;
        types += std::string(types.empty() ? "" : ", ") + "[\"" + kElementNames[of_u] + "\", \"" + kElementNames[own] +
                 "\"]";
      }
    }
    std::printf("%s\n  {\"name\": \"%s\", \"shape\": \"%s\", \"types\": [%s]}", position ? "," : "", name, shape,
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
  check_serialization();
  check_timing_cache_ids();
  check_enqueue();
  std::printf("TensorRT plugin core: %d failures\n", trt_test::failures);
  return trt_test::failures == 0 ? 0 : 1;
}
