// The fused operators with matmuls for ONNX Runtime, each for weights in float32, bfloat16 and int8.
#include <limits>

#include "ort_kernel.h"

namespace vim_fused {
namespace {

constexpr InputSpec kX = {"x", 3, "(batch, length, size)"};
constexpr InputSpec kProjected = {"x", 3, "(batch, length, depth)"};
constexpr InputSpec kBefore = {"before", 1, "packed (depth, size)"};
constexpr InputSpec kResidual = {"residual", 3, "(batch, length, size)"};
constexpr InputSpec kWeight = {"weight", 1, "(size)"};
constexpr InputSpec kAfter = {"after", 1, "packed (size, columns)"};
constexpr InputSpec kXz = {"xz", 3, "(batch, length, 2 * channels)"};
constexpr const char* kPackedConv = "packed (channels, columns)";

constexpr InputSpec kBeforeSmoothing = {"before_smoothing", 1, "(depth)"};

// The operator's name, which depends on the weights' type.
#define VIM_KIND(name) \
  (Type == WeightType::kInt8 ? name "Int8" : Type == WeightType::kBFloat16 ? name "Bfloat16" : name)
#define VIM_NAME(name) VIM_KIND("vim_deploy.fused::" name)

// The shape of packed weights. `depth` must have been checked.
template <WeightType Type>
Shape packed(std::int64_t depth, std::int64_t columns) {
  return {1, {packed_size(Type, depth, columns)}};
}

constexpr ElementType element_type(WeightType type) {
  return type == WeightType::kInt8 ? kInt8 : type == WeightType::kBFloat16 ? kBFloat16 : kFloat;
}

// The number of inputs: operators with int8 weights have further ones, with smoothing factors.
template <WeightType Type>
constexpr std::size_t inputs(std::size_t common, std::size_t smoothing) {
  return Type == WeightType::kInt8 ? common + smoothing : common;
}

// What an operator's nodes have besides `columns`.
enum class Attributes { kNone, kNorm, kPatches };

Status* read_size(const Api& api, const char* name, const KernelInfo* info, const char* attribute, std::int32_t* value) {
  const IntegerSpec spec = {attribute, 1, std::numeric_limits<std::int32_t>::max(), "1 to 2147483647"};
  return read_integer(api, name, info, spec, value);
}

Status* create(const ApiTable* table, const KernelInfo* info, const char* name, Attributes attributes, void** kernel) {
  Kernel* created = nullptr;
  if (Status* failure = new_kernel(table, name, &created)) return failure;
  const Api& api = created->api;
  Status* failure = read_size(api, name, info, "columns", &created->columns);
  if (failure == nullptr && attributes == Attributes::kNorm)
    failure = api.KernelInfoGetAttribute_float(info, "epsilon", &created->epsilon);
  if (attributes == Attributes::kPatches) {
    if (failure == nullptr) failure = read_size(api, name, info, "channels", &created->channels);
    if (failure == nullptr) failure = read_size(api, name, info, "patch_height", &created->patch_height);
    if (failure == nullptr) failure = read_size(api, name, info, "patch_width", &created->patch_width);
  }
  if (failure != nullptr) {
    destroy_kernel(created);
    return failure;
  }
  *kernel = created;
  return nullptr;
}

// Reads the inputs from `first` on.
template <std::size_t N>
Status* read_all(const Api& api, const char* name, const KernelContext* context, const InputSpec (&specs)[N],
                 const void* (&data)[N], Shape (&shapes)[N], std::size_t first = 0) {
  const Value* value = nullptr;
  for (std::size_t i = 0; i < N; ++i)
    if (Status* failure = read_value(api, name, context, first + i, specs[i], &value, &data[i], &shapes[i]))
      return failure;
  return nullptr;
}

// Reads the smoothing factors of inputs of matmuls, of `depth` values each, from input `first` on.
template <std::size_t N>
Status* read_smoothing(const Api& api, const char* name, const KernelContext* context, std::size_t first,
                       const InputSpec (&specs)[N], std::int64_t depth, Weights* const (&weights)[N]) {
  const void* data[N];
  Shape shapes[N];
  if (Status* failure = read_all(api, name, context, specs, data, shapes, first)) return failure;
  for (std::size_t i = 0; i < N; ++i) {
    if (Status* failure = expect_shape(api, name, specs[i], shapes[i], {1, {depth}}, "the weights")) return failure;
    weights[i]->smoothing = floats(data[i]);
  }
  return nullptr;
}

Status* check_depth(const Api& api, const char* name, std::int64_t depth) {
  if (depth <= kMaxDepth) return nullptr;
  return refuse(api, name, "matmul of depth %lld; at most %lld is supported", static_cast<long long>(depth),
                static_cast<long long>(kMaxDepth));
}

// Project(x, weights).
template <WeightType Type>
Status* compute_project(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  const Api& api = kernel.api;
  constexpr const char* name = VIM_NAME("Project");
  constexpr InputSpec specs[] = {kProjected, {"weights", 1, "packed (depth, columns)"}};
  const void* data[2];
  Shape shapes[2];
  if (Status* failure = read_all(api, name, context, specs, data, shapes)) return failure;
  const Shape& x = shapes[0];
  const std::int64_t depth = x.size[2];
  if (Status* failure = check_depth(api, name, depth)) return failure;
  const Shape expected[] = {x, packed<Type>(depth, kernel.columns)};
  if (Status* failure = expect_shapes(api, name, specs, shapes, expected, "x and columns")) return failure;
  Project problem = {x.size[0] * x.size[1], floats(data[0]), {depth, kernel.columns, Type, data[1]}, nullptr};
  if constexpr (Type == WeightType::kInt8) {
    constexpr InputSpec smoothing[] = {{"smoothing", 1, "(depth)"}};
    Status* failure = read_smoothing(api, name, context, 2, smoothing, depth, {&problem.weights});
    if (failure != nullptr) return failure;
  }
  const Shape y = {3, {x.size[0], x.size[1], kernel.columns}};
  if (Status* failure = make_output(api, context, 0, y, &problem.y)) return failure;
  return run<Project, &Kernels::project>(api, context, problem);
}

// PatchProject(images, weights). The depth of weights is at most kMaxDepth, so that the products of the attributes do not
// overflow once each is at most that.
template <WeightType Type>
Status* compute_patch_project(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  const Api& api = kernel.api;
  constexpr const char* name = VIM_NAME("PatchProject");
  constexpr InputSpec specs[] = {{"images", 3, "(batch, channels * height, width)"},
                                 {"weights", 1, "packed (channels * patch_height * patch_width, columns)"}};
  const void* data[2];
  Shape shapes[2];
  if (Status* failure = read_all(api, name, context, specs, data, shapes)) return failure;
  const Shape& images = shapes[0];
  std::int64_t depth = 1;
  const std::int64_t sizes[] = {kernel.channels, kernel.patch_height, kernel.patch_width};
  for (const std::int64_t size : sizes) {
    depth *= size;
    if (Status* failure = check_depth(api, name, depth)) return failure;
  }
  const std::int64_t height = images.size[1] / kernel.channels, width = images.size[2];
  if (height < 1 || width < 1 || images.size[1] % kernel.channels != 0 || height % kernel.patch_height != 0 ||
      width % kernel.patch_width != 0)
    return refuse(api, name, "input images has shape %s, which is not a multiple of %d channels and patches of %d x %d",
                  ShapeText(images).text, kernel.channels, kernel.patch_height, kernel.patch_width);
  const Shape expected[] = {images, packed<Type>(depth, kernel.columns)};
  if (Status* failure = expect_shapes(api, name, specs, shapes, expected, "images and columns")) return failure;
  const Patches patches = {kernel.channels, height, width, kernel.patch_height, kernel.patch_width};
  const std::int64_t length = height / kernel.patch_height * (width / kernel.patch_width);
  Project problem = {images.size[0] * length, floats(data[0]), {depth, kernel.columns, Type, data[1]}, nullptr, &patches};
  if constexpr (Type == WeightType::kInt8) {
    constexpr InputSpec smoothing[] = {{"smoothing", 1, "(channels * patch_height * patch_width)"}};
    Status* failure = read_smoothing(api, name, context, 2, smoothing, depth, {&problem.weights});
    if (failure != nullptr) return failure;
  }
  const Shape y = {3, {images.size[0], length, kernel.columns}};
  if (Status* failure = make_output(api, context, 0, y, &problem.y)) return failure;
  return run<Project, &Kernels::project>(api, context, problem);
}

// NormProject(x, weight, after).
template <WeightType Type>
Status* compute_norm_project(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  const Api& api = kernel.api;
  constexpr const char* name = VIM_NAME("NormProject");
  constexpr InputSpec specs[] = {kX, kWeight, kAfter};
  const void* data[3];
  Shape shapes[3];
  if (Status* failure = read_all(api, name, context, specs, data, shapes)) return failure;
  const Shape& x = shapes[0];
  const std::int64_t size = x.size[2];
  if (Status* failure = check_depth(api, name, size)) return failure;
  const Shape expected[] = {x, {1, {size}}, packed<Type>(size, kernel.columns)};
  if (Status* failure = expect_shapes(api, name, specs, shapes, expected, "x and columns")) return failure;
  NormProject problem = {};
  problem.rows = x.size[0] * x.size[1];
  problem.size = size;
  problem.epsilon = kernel.epsilon;
  problem.x = floats(data[0]);
  problem.weight = floats(data[1]);
  problem.after = {size, kernel.columns, Type, data[2]};
  const Shape y = {3, {x.size[0], x.size[1], kernel.columns}};
  if (Status* failure = make_output(api, context, 0, y, &problem.y)) return failure;
  return run<NormProject, &Kernels::norm_project>(api, context, problem);
}

// ProjectNormProject(x, before, residual, weight, after).
template <WeightType Type>
Status* compute_project_norm_project(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  const Api& api = kernel.api;
  constexpr const char* name = VIM_NAME("ProjectNormProject");
  constexpr InputSpec specs[] = {kProjected, kBefore, kResidual, kWeight, kAfter};
  const void* data[5];
  Shape shapes[5];
  if (Status* failure = read_all(api, name, context, specs, data, shapes)) return failure;
  const Shape &x = shapes[0], &residual = shapes[2];
  const std::int64_t depth = x.size[2], size = residual.size[2];
  if (Status* failure = check_depth(api, name, depth > size ? depth : size)) return failure;
  const Shape expected[] = {x, packed<Type>(depth, size), {3, {x.size[0], x.size[1], size}}, {1, {size}},
                            packed<Type>(size, kernel.columns)};
  if (Status* failure = expect_shapes(api, name, specs, shapes, expected, "x, residual and columns")) return failure;
  NormProject problem = {};
  problem.rows = x.size[0] * x.size[1];
  problem.size = size;
  problem.epsilon = kernel.epsilon;
  problem.x = floats(data[0]);
  problem.before = {depth, size, Type, data[1]};
  problem.residual = floats(data[2]);
  problem.weight = floats(data[3]);
  problem.after = {size, kernel.columns, Type, data[4]};
  if constexpr (Type == WeightType::kInt8) {
    Status* failure = read_smoothing(api, name, context, 5, {kBeforeSmoothing}, depth, {&problem.before});
    if (failure != nullptr) return failure;
  }
  const Shape y = {3, {x.size[0], x.size[1], kernel.columns}};
  if (Status* failure = make_output(api, context, 0, y, &problem.y)) return failure;
  if (Status* failure = make_output(api, context, 1, residual, &problem.sum)) return failure;
  return run<NormProject, &Kernels::norm_project>(api, context, problem);
}

// ConvProject(xz, then for each direction taps, bias, weights).
template <WeightType Type>
Status* compute_conv_project(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  const Api& api = kernel.api;
  constexpr const char* name = VIM_NAME("ConvProject");
  constexpr InputSpec specs[] = {
      kXz,
      {"taps", 2, "(width, channels)"},   {"bias", 1, "(channels)"},   {"weights", 1, kPackedConv},
      {"taps_b", 2, "(width, channels)"}, {"bias_b", 1, "(channels)"}, {"weights_b", 1, kPackedConv},
  };
  const void* data[7];
  Shape shapes[7];
  if (Status* failure = read_all(api, name, context, specs, data, shapes)) return failure;
  const Shape& xz = shapes[0];
  ConvProject problem = {};
  ConvPair& conv = problem.conv;
  conv.batch = xz.size[0];
  conv.length = xz.size[1];
  conv.width = shapes[1].size[0];
  conv.channels = shapes[1].size[1];
  if (Status* failure = check_depth(api, name, conv.channels)) return failure;
  const Shape taps = {2, {conv.width, conv.channels}}, bias = {1, {conv.channels}};
  const Shape weights = packed<Type>(conv.channels, kernel.columns);
  const Shape expected[] = {{3, {conv.batch, conv.length, 2 * conv.channels}}, taps, bias, weights,
                            taps, bias, weights};
  if (Status* failure = expect_shapes(api, name, specs, shapes, expected, "xz, taps and columns")) return failure;
  conv.x = floats(data[0]);
  conv.x_pitch = 2 * conv.channels;
  const Shape u = {3, {conv.batch, conv.length, conv.channels}};
  const Shape projection = {3, {conv.batch, conv.length, kernel.columns}};
  for (std::size_t i = 0; i < 2; ++i) {
    const void* const* in = data + 1 + 3 * i;
    conv.directions[i] = {floats(in[0]), floats(in[1]), nullptr};
    problem.directions[i].weights = {conv.channels, kernel.columns, Type, in[2]};
    if (Status* failure = make_output(api, context, i, u, &conv.directions[i].u)) return failure;
    Status* failure = make_output(api, context, 2 + i, projection, &problem.directions[i].projection);
    if (failure != nullptr) return failure;
  }
  if constexpr (Type == WeightType::kInt8) {
    constexpr InputSpec smoothing[] = {{"smoothing", 1, "(channels)"}, {"smoothing_b", 1, "(channels)"}};
    Weights* const weights_of[] = {&problem.directions[0].weights, &problem.directions[1].weights};
    Status* failure = read_smoothing(api, name, context, 7, smoothing, conv.channels, weights_of);
    if (failure != nullptr) return failure;
  }
  return run<ConvProject, &Kernels::conv_project>(api, context, problem);
}

template <WeightType Type>
CustomOp describe_project() {
  CustomOp op = describe<inputs<Type>(2, 1), 1>();
  op.GetName = [](const CustomOp*) { return VIM_KIND("Project"); };
  op.GetInputType = [](const CustomOp*, std::size_t i) { return i == 1 ? element_type(Type) : kFloat; };
  op.CreateKernelV2 = [](const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
    return create(table, info, VIM_NAME("Project"), Attributes::kNone, kernel);
  };
  op.KernelComputeV2 = compute_project<Type>;
  return op;
}

template <WeightType Type>
CustomOp describe_patch_project() {
  CustomOp op = describe_project<Type>();
  op.GetName = [](const CustomOp*) { return VIM_KIND("PatchProject"); };
  op.CreateKernelV2 = [](const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
    return create(table, info, VIM_NAME("PatchProject"), Attributes::kPatches, kernel);
  };
  op.KernelComputeV2 = compute_patch_project<Type>;
  return op;
}

template <WeightType Type>
CustomOp describe_norm_project() {
  CustomOp op = describe<3, 1>();
  op.GetName = [](const CustomOp*) { return VIM_KIND("NormProject"); };
  op.GetInputType = [](const CustomOp*, std::size_t i) { return i == 2 ? element_type(Type) : kFloat; };
  op.CreateKernelV2 = [](const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
    return create(table, info, VIM_NAME("NormProject"), Attributes::kNorm, kernel);
  };
  op.KernelComputeV2 = compute_norm_project<Type>;
  return op;
}

template <WeightType Type>
CustomOp describe_project_norm_project() {
  CustomOp op = describe<inputs<Type>(5, 1), 2>();
  op.GetName = [](const CustomOp*) { return VIM_KIND("ProjectNormProject"); };
  op.GetInputType = [](const CustomOp*, std::size_t i) {
    return i == 1 || i == 4 ? element_type(Type) : kFloat;
  };
  op.CreateKernelV2 = [](const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
    return create(table, info, VIM_NAME("ProjectNormProject"), Attributes::kNorm, kernel);
  };
  op.KernelComputeV2 = compute_project_norm_project<Type>;
  return op;
}

template <WeightType Type>
CustomOp describe_conv_project() {
  CustomOp op = describe<inputs<Type>(7, 2), 4>();
  op.GetName = [](const CustomOp*) { return VIM_KIND("ConvProject"); };
  op.GetInputType = [](const CustomOp*, std::size_t i) {
    return i == 3 || i == 6 ? element_type(Type) : kFloat;
  };
  op.CreateKernelV2 = [](const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
    return create(table, info, VIM_NAME("ConvProject"), Attributes::kNone, kernel);
  };
  op.KernelComputeV2 = compute_conv_project<Type>;
  return op;
}

const CustomOp kOfFloat32[] = {describe_project<WeightType::kFloat32>(), describe_norm_project<WeightType::kFloat32>(),
                               describe_project_norm_project<WeightType::kFloat32>(),
                               describe_conv_project<WeightType::kFloat32>()};
const CustomOp kOfBFloat16[] = {describe_project<WeightType::kBFloat16>(), describe_norm_project<WeightType::kBFloat16>(),
                                describe_project_norm_project<WeightType::kBFloat16>(),
                                describe_conv_project<WeightType::kBFloat16>(),
                                describe_patch_project<WeightType::kBFloat16>()};
const CustomOp kOfInt8[] = {describe_project<WeightType::kInt8>(), describe_norm_project<WeightType::kInt8>(),
                            describe_project_norm_project<WeightType::kInt8>(),
                            describe_conv_project<WeightType::kInt8>(),
                            describe_patch_project<WeightType::kInt8>()};

}  // namespace

const CustomOp* const kMatmulOperators[] = {&kOfFloat32[0],  &kOfFloat32[1],  &kOfFloat32[2],  &kOfFloat32[3],
                                            &kOfBFloat16[0], &kOfBFloat16[1], &kOfBFloat16[2], &kOfBFloat16[3],
                                            &kOfBFloat16[4], &kOfInt8[0],     &kOfInt8[1],     &kOfInt8[2],
                                            &kOfInt8[3],     &kOfInt8[4]};

}  // namespace vim_fused
