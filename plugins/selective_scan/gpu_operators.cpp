#include "gpu_operators.h"

#include <initializer_list>

#include "contract_fused.h"
#include "pair_cuda.h"

namespace vim_gpu {
namespace {

using namespace vim_contract;

constexpr std::int64_t kUnknown = -1;

bool known(const Sizes& sizes, std::initializer_list<Size> wanted) {
  for (const Size size : wanted)
    if (sizes.size[size] < 0) return false;
  return true;
}

// For checks of the other sizes.
std::int64_t or_one(std::int64_t size) { return size < 0 ? 1 : size; }

// Positions of the scan's attributes.
enum ScanAttribute { kSoftplus, kReverse, kGroups };

const char* scan_sizes_error(const Sizes& s, const Attributes& attributes) {
  if (s.size[kChannels] > 0 && s.size[kChannels] % attributes.value[kGroups] != 0)
    return "SelectiveScan: the channels cannot be divided into that number of groups";
  return vim_scan::cuda_sizes_error(or_one(s.size[kBatch]), or_one(s.size[kLength]), or_one(s.size[kChannels]),
                                    or_one(s.size[kState]));
}

std::size_t scan_workspace(const Sizes& s) {
  return known(s, {kChannels, kState}) ? vim_scan::cuda_workspace_bytes(s.size[kChannels], s.size[kState]) : 0;
}

const char* launch_scan(const Call& call, CUstream_st* stream) {
  vim_scan::CudaArguments scan{};
  scan.batch = call.sizes.size[kBatch];
  scan.length = call.sizes.size[kLength];
  scan.channels = call.sizes.size[kChannels];
  scan.state = call.sizes.size[kState];
  scan.type = call.type;
  scan.delta_softplus = call.attributes.value[kSoftplus] == 1;
  scan.reverse = call.attributes.value[kReverse] == 1;
  scan.groups = call.attributes.value[kGroups];
  set_inputs(scan, call.inputs);
  scan.y = call.outputs[0];
  scan.workspace = call.workspace;
  return vim_scan::launch_cuda(scan, stream);
}

const char* pair_sizes_error(const Sizes& s, const Attributes&) {
  return vim_fused::pair_sizes_error(or_one(s.size[kBatch]), or_one(s.size[kLength]), or_one(s.size[kChannels]),
                                     or_one(s.size[kState]), or_one(s.size[kRank]));
}

std::size_t pair_workspace(const Sizes& s) {
  if (!known(s, {kBatch, kLength, kChannels, kState})) return 0;
  return vim_fused::pair_workspace_bytes(s.size[kBatch], s.size[kLength], s.size[kChannels], s.size[kState]);
}

const char* launch_pair(const Call& call, CUstream_st* stream) {
  vim_fused::CudaScanPair scan{};
  scan.batch = call.sizes.size[kBatch];
  scan.length = call.sizes.size[kLength];
  scan.channels = call.sizes.size[kChannels];
  scan.state = call.sizes.size[kState];
  scan.rank = call.sizes.size[kRank];
  scan.type = call.type;
  scan.delta_softplus = call.attributes.value[0] == 1;
  scan.scale = call.attributes.value[1] == 1 ? 0.5f : 1.0f;
  scan.xz = call.inputs[0];
  for (std::size_t i = 0; i < 2; ++i) {
    const void* const* in = call.inputs + 1 + i * vim_fused::kDirectionInputs;
    const auto weights = [&](std::size_t index) { return static_cast<const float*>(in[index]); };
    scan.directions[i] = {in[0], in[1], weights(2), weights(3), weights(4), weights(5)};
  }
  scan.y = call.outputs[0];
  scan.workspace = call.workspace;
  return vim_fused::launch_pair(scan, stream);
}

const char* conv_sizes_error(const Sizes& s, const Attributes&) {
  return vim_fused::conv_sizes_error(or_one(s.size[kBatch]), or_one(s.size[kLength]), or_one(s.size[kChannels]),
                                     or_one(s.size[kWidth]));
}

std::size_t conv_workspace(const Sizes&) { return 0; }

const char* launch_conv(const Call& call, CUstream_st* stream) {
  vim_fused::CudaConvPair conv{};
  conv.batch = call.sizes.size[kBatch];
  conv.length = call.sizes.size[kLength];
  conv.channels = call.sizes.size[kChannels];
  conv.width = call.sizes.size[kWidth];
  conv.type = call.type;
  conv.xz = call.inputs[0];
  for (std::size_t i = 0; i < 2; ++i)
    conv.directions[i] = {static_cast<const float*>(call.inputs[1 + 2 * i]),
                          static_cast<const float*>(call.inputs[2 + 2 * i]), call.outputs[i]};
  return vim_fused::launch_conv(conv, stream);
}

constexpr TensorSpec kScanOutputs[] = {{"y", kSequence, "(batch, length, channels)", InputType::kT}};
constexpr AttributeSpec attribute_at(std::size_t index) {
  const vim_contract::AttributeSpec& spec = kAttributeSpecs[index];
  return {spec.name, spec.least, spec.most, spec.expected};
}
constexpr AttributeSpec kScanAttributes[] = {attribute_at(kSoftplus), attribute_at(kReverse), attribute_at(kGroups)};
static_assert(kAttributes == 3, "launch_scan reads three");
constexpr AttributeSpec kPairAttributes[] = {{vim_fused::kScanPairAttributeNames[0], 0, 1, "0 or 1"},
                                             {vim_fused::kScanPairAttributeNames[1], 0, 1, "0 or 1"}};

constexpr Operator kOperators[kOperatorCount] = {
    {vim_contract::kDomain, vim_contract::kName, vim_contract::kVersionText, kInputSpecs, kInputs,
     kOptionalInput, kScanOutputs, 1,
     kScanAttributes, kAttributes, scan_sizes_error, scan_workspace, launch_scan},
    {vim_fused::kDomain, vim_fused::kScanPairName, vim_fused::kVersionText, vim_fused::kScanPairSpecs,
     vim_fused::kScanPairInputs, kNone, vim_fused::kScanPairOutputs, 1, kPairAttributes,
     vim_fused::kScanPairAttributes, pair_sizes_error, pair_workspace, launch_pair},
    {vim_fused::kDomain, vim_fused::kConvPairName, vim_fused::kVersionText, vim_fused::kConvPairSpecs,
     vim_fused::kConvPairInputs, kNone, vim_fused::kConvPairOutputs, 2, nullptr, 0, conv_sizes_error, conv_workspace,
     launch_conv},
};

// Whether a size is the one that follows from others, if all are known.
bool consistent(const Sizes& s, const Attributes& attributes, Size derived) {
  if (derived == kProjected && known(s, {kProjected, kState}))
    return s.size[kProjected] == attributes.value[kGroups] * s.size[kState];
  if (derived == kGated && known(s, {kGated, kChannels})) return s.size[kGated] == 2 * s.size[kChannels];
  if (derived == kColumns && known(s, {kColumns, kRank, kState}))
    return s.size[kColumns] == s.size[kRank] + 2 * s.size[kState];
  return true;
}

}  // namespace

const Operator& operator_at(std::int32_t index) { return kOperators[index]; }

std::int32_t read_sizes(const Operator& op, const Attributes& attributes, const std::int64_t (*shapes)[kMaxRank],
                        Sizes& sizes) {
  for (std::int64_t& size : sizes.size) size = kUnknown;
  for (std::int32_t i = 0; i < op.input_count; ++i) {
    const Shape& shape = op.inputs[i].shape;
    for (std::size_t k = 0; k < shape.rank; ++k) {
      std::int64_t& size = sizes.size[shape.sizes[k]];
      if (shapes[i][k] < 0) continue;
      if (size >= 0 && size != shapes[i][k]) return i;
      size = shapes[i][k];
      if (!consistent(sizes, attributes, shape.sizes[k])) return i;
    }
  }
  // Sizes that follow from those of later inputs.
  for (std::int32_t i = 0; i < op.input_count; ++i)
    for (std::size_t k = 0; k < op.inputs[i].shape.rank; ++k)
      if (!consistent(sizes, attributes, op.inputs[i].shape.sizes[k])) return i;
  return kNone;
}

Source source_of(const Operator& op, Size size) {
  for (std::int32_t i = 0; i < op.input_count; ++i)
    for (std::size_t k = 0; k < op.inputs[i].shape.rank; ++k)
      if (op.inputs[i].shape.sizes[k] == size) return {i, static_cast<std::int32_t>(k)};
  return {0, 0};
}

}  // namespace vim_gpu
