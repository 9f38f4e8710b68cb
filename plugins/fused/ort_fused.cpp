// The fused operators for ONNX Runtime: reads inputs and attributes and runs the tasks of fused.h on the session's
// threads.
#include "ort_fused.h"

#include "ort_kernel.h"

namespace vim_fused {
namespace {

// RMSNorm(x, weight) and AddRMSNorm(x, residual, weight).

constexpr char kRmsNorm[] = "vim_deploy.fused::RMSNorm";
constexpr char kAddRmsNorm[] = "vim_deploy.fused::AddRMSNorm";
constexpr InputSpec kX = {"x", 3, "(batch, length, size)"};
constexpr InputSpec kResidual = {"residual", 3, "(batch, length, size)"};
constexpr InputSpec kWeight = {"weight", 1, "(size)"};

template <const char* Name>
Status* create_norm(const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
  Kernel* created = nullptr;
  if (Status* failure = new_kernel(table, Name, &created)) return failure;
  if (Status* failure = created->api.KernelInfoGetAttribute_float(info, "epsilon", &created->epsilon)) {
    destroy_kernel(created);
    return failure;
  }
  *kernel = created;
  return nullptr;
}

template <std::size_t Inputs>
Status* compute_norm(void* state, KernelContext* context) {
  const auto& kernel = *static_cast<const Kernel*>(state);
  constexpr bool add = Inputs == 3;
  constexpr const char* name = add ? kAddRmsNorm : kRmsNorm;
  constexpr InputSpec specs[3] = {kX, add ? kResidual : kWeight, kWeight};
  const float* data[3] = {};
  Shape shapes[3];
  for (std::size_t i = 0; i < Inputs; ++i)
    if (Status* failure = read_input(kernel.api, name, context, i, specs[i], &data[i], &shapes[i])) return failure;
  const Shape& x = shapes[0];
  const Shape weight = {1, {x.size[2]}};
  if (x.size[2] < 1)
    return refuse(kernel.api, name, "input x has shape %s; only the batch may be 0", ShapeText(x).text);
  if (add)
    if (Status* failure = expect_shape(kernel.api, name, kResidual, shapes[1], x, "x")) return failure;
  if (Status* failure = expect_shape(kernel.api, name, kWeight, shapes[Inputs - 1], weight, "x")) return failure;

  Norm norm = {};
  norm.rows = x.size[0] * x.size[1];
  norm.size = x.size[2];
  norm.epsilon = kernel.epsilon;
  norm.x = data[0];
  norm.residual = add ? data[1] : nullptr;
  norm.weight = data[Inputs - 1];
  if (Status* failure = make_output(kernel.api, context, 0, x, &norm.y)) return failure;
  if (add)
    if (Status* failure = make_output(kernel.api, context, 1, x, &norm.sum)) return failure;
  return run<Norm, &Kernels::norm>(kernel.api, context, norm);
}

// CausalConvPair(xz, taps, bias, taps_b, bias_b).

constexpr char kConvPair[] = "vim_deploy.fused::CausalConvPair";
Status* create_conv(const CustomOp*, const ApiTable* table, const KernelInfo*, void** kernel) {
  Kernel* created = nullptr;
  Status* failure = new_kernel(table, kConvPair, &created);
  *kernel = created;
  return failure;
}

Status* compute_conv(void* state, KernelContext* context) {
  const Api& api = static_cast<const Kernel*>(state)->api;
  const float* data[kConvPairInputs];
  Shape shapes[kConvPairInputs];
  if (Status* failure = read_inputs(api, kConvPair, context, kConvPairSpecs, data, shapes)) return failure;
  ConvPair conv = {};
  conv.batch = shapes[0].size[0];
  conv.length = shapes[0].size[1];
  conv.width = shapes[1].size[0];
  conv.channels = shapes[1].size[1];
  const Shape taps = {2, {conv.width, conv.channels}}, bias = {1, {conv.channels}};
  const Shape expected[kConvPairInputs] = {{3, {conv.batch, conv.length, 2 * conv.channels}}, taps, bias, taps, bias};
  if (Status* failure = expect_shapes(api, kConvPair, kConvPairSpecs, shapes, expected, "xz and taps")) return failure;
  conv.x = data[0];
  conv.x_pitch = 2 * conv.channels;
  const Shape u = {3, {conv.batch, conv.length, conv.channels}};
  for (std::size_t i = 0; i < 2; ++i) {
    conv.directions[i] = {data[1 + 2 * i], data[2 + 2 * i], nullptr};
    if (Status* failure = make_output(api, context, i, u, &conv.directions[i].u)) return failure;
  }
  return run<ConvPair, &Kernels::conv>(api, context, conv);
}

// ScanPair(xz, then for each direction u, projection, delta_weight, A, D, delta_bias), and ScanPairReduced, the same with
// delta_weight in bfloat16 and less accurate functions.

constexpr char kScanPair[] = "vim_deploy.fused::ScanPair";
constexpr char kScanPairReduced[] = "vim_deploy.fused::ScanPairReduced";
constexpr char kReducedWeightShape[] = "(half of rank, rounded up, 2 * channels)";

// After xz: the third input of each direction.
constexpr bool is_delta_weight(std::size_t input) { return input % kDirectionInputs == 3; }

template <bool Reduced>
InputSpec scan_spec(std::size_t input) {
  InputSpec spec = spec_of(kScanPairSpecs[input]);
  if (Reduced && is_delta_weight(input)) spec.shape_text = kReducedWeightShape;
  return spec;
}

template <const char* Name>
Status* create_scan(const CustomOp*, const ApiTable* table, const KernelInfo* info, void** kernel) {
  Kernel* created = nullptr;
  if (Status* failure = new_kernel(table, Name, &created)) return failure;
  Status* failure = read_flag(created->api, Name, info, kScanPairAttributeNames[0], &created->delta_softplus);
  if (failure == nullptr)
    failure = read_flag(created->api, Name, info, kScanPairAttributeNames[1], &created->average_directions);
  if (failure != nullptr) {
    destroy_kernel(created);
    return failure;
  }
  *kernel = created;
  return nullptr;
}

template <bool Reduced>
Status* compute_scan(void* state, KernelContext* context) {
  constexpr const char* name = Reduced ? kScanPairReduced : kScanPair;
  const auto& kernel = *static_cast<const Kernel*>(state);
  const Api& api = kernel.api;
  const void* data[kScanPairInputs];
  Shape shapes[kScanPairInputs];
  InputSpec specs[kScanPairInputs];
  const Value* value = nullptr;
  for (std::size_t i = 0; i < kScanPairInputs; ++i) {
    specs[i] = scan_spec<Reduced>(i);
    Status* failure = read_value(api, name, context, i, specs[i], &value, &data[i], &shapes[i]);
    if (failure != nullptr) return failure;
  }
  ScanPair scan = {};
  scan.batch = shapes[1].size[0];
  scan.length = shapes[1].size[1];
  scan.channels = shapes[1].size[2];
  scan.state = shapes[4].size[0];
  scan.rank = Reduced ? shapes[2].size[2] - 2 * scan.state : shapes[3].size[0];
  if (Reduced && (scan.rank < 1 || scan.rank > kMaxReducedRank))
    return refuse(api, name, "rank %lld, from %lld columns of projection and a state size of %lld; expected 1 to %lld",
                  static_cast<long long>(scan.rank), static_cast<long long>(shapes[2].size[2]),
                  static_cast<long long>(scan.state), static_cast<long long>(kMaxReducedRank));
  const Shape u = {3, {scan.batch, scan.length, scan.channels}}, channels = {1, {scan.channels}};
  const Shape projection = {3, {scan.batch, scan.length, scan.rank + 2 * scan.state}};
  const Shape weight = Reduced ? Shape{2, {(scan.rank + 1) / 2, 2 * scan.channels}} : Shape{2, {scan.rank, scan.channels}};
  const Shape A = {2, {scan.state, scan.channels}};
  const Shape expected[kScanPairInputs] = {{3, {scan.batch, scan.length, 2 * scan.channels}},
                                       u, projection, weight, A, channels, channels,
                                       u, projection, weight, A, channels, channels};
  const char* from = Reduced ? "u, projection and A" : "u, delta_weight and A";
  if (Status* failure = expect_shapes(api, name, specs, shapes, expected, from)) return failure;
  scan.delta_softplus = kernel.delta_softplus != 0;
  scan.reduced = Reduced;
  scan.scale = kernel.average_directions != 0 ? 0.5f : 1.0f;
  scan.z = floats(data[0]) + scan.channels;
  scan.z_pitch = 2 * scan.channels;
  for (std::size_t i = 0; i < 2; ++i) {
    const void* const* in = data + 1 + i * kDirectionInputs;
    scan.directions[i] = {floats(in[0]), floats(in[1]), in[2], floats(in[3]), floats(in[4]), floats(in[5])};
  }
  if (Status* failure = make_output(api, context, 0, u, &scan.y)) return failure;
  return run<ScanPair, &Kernels::scan>(api, context, scan);
}

CustomOp describe_norm() {
  CustomOp op = describe<2, 1>();
  op.GetName = [](const CustomOp*) { return "RMSNorm"; };
  op.CreateKernelV2 = create_norm<kRmsNorm>;
  op.KernelComputeV2 = compute_norm<2>;
  return op;
}

CustomOp describe_add_norm() {
  CustomOp op = describe<3, 2>();
  op.GetName = [](const CustomOp*) { return "AddRMSNorm"; };
  op.CreateKernelV2 = create_norm<kAddRmsNorm>;
  op.KernelComputeV2 = compute_norm<3>;
  return op;
}

CustomOp describe_conv() {
  CustomOp op = describe<kConvPairInputs, 2>();
  op.GetName = [](const CustomOp*) { return kConvPairName; };
  op.CreateKernelV2 = create_conv;
  op.KernelComputeV2 = compute_conv;
  return op;
}

CustomOp describe_scan() {
  CustomOp op = describe<kScanPairInputs, 1>();
  op.GetName = [](const CustomOp*) { return kScanPairName; };
  op.CreateKernelV2 = create_scan<kScanPair>;
  op.KernelComputeV2 = compute_scan<false>;
  return op;
}

CustomOp describe_reduced_scan() {
  CustomOp op = describe<kScanPairInputs, 1>();
  op.GetName = [](const CustomOp*) { return "ScanPairReduced"; };
  op.GetInputType = [](const CustomOp*, std::size_t i) { return is_delta_weight(i) ? kBFloat16 : kFloat; };
  op.CreateKernelV2 = create_scan<kScanPairReduced>;
  op.KernelComputeV2 = compute_scan<true>;
  return op;
}

const CustomOp kNormOperator = describe_norm();
const CustomOp kAddNormOperator = describe_add_norm();
const CustomOp kConvOperator = describe_conv();
const CustomOp kScanOperator = describe_scan();
const CustomOp kReducedScanOperator = describe_reduced_scan();
const CustomOp* const kOperators[] = {&kNormOperator, &kAddNormOperator, &kConvOperator, &kScanOperator,
                                      &kReducedScanOperator,
                                      kMatmulOperators[0], kMatmulOperators[1], kMatmulOperators[2],
                                      kMatmulOperators[3], kMatmulOperators[4], kMatmulOperators[5],
                                      kMatmulOperators[6], kMatmulOperators[7], kMatmulOperators[8],
                                      kMatmulOperators[9], kMatmulOperators[10], kMatmulOperators[11],
                                      kMatmulOperators[12], kMatmulOperators[13]};
static_assert(kMatmulOperatorCount == 14, "");

}  // namespace

const CustomOp* const* operators(std::size_t* count) {
  *count = sizeof kOperators / sizeof kOperators[0];
  return kOperators;
}

}  // namespace vim_fused
