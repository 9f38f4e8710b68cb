// The fused operators that GPUs have too: their names, version, inputs and attributes, as in README.md.
#pragma once

#include "contract.h"

namespace vim_fused {

constexpr char kDomain[] = "vim_deploy.fused";
constexpr std::int32_t kVersion = 6;
constexpr char kVersionText[] = "6";
static_assert(kVersionText[0] - '0' == kVersion && kVersionText[1] == '\0', "");

using vim_contract::InputType;
using TensorSpec = vim_contract::InputSpec;

constexpr vim_contract::Shape kXz = {3, {vim_contract::kBatch, vim_contract::kLength, vim_contract::kGated}};
constexpr vim_contract::Shape kRow = {3, {vim_contract::kBatch, vim_contract::kLength, vim_contract::kColumns}};
constexpr vim_contract::Shape kPerRank = {2, {vim_contract::kRank, vim_contract::kChannels}};
constexpr vim_contract::Shape kByState = {2, {vim_contract::kState, vim_contract::kChannels}};
constexpr vim_contract::Shape kPerTap = {2, {vim_contract::kWidth, vim_contract::kChannels}};

constexpr char kScanPairName[] = "ScanPair";
constexpr std::size_t kScanPairInputs = 13;
constexpr std::size_t kDirectionInputs = 6;
constexpr TensorSpec kScanPairSpecs[kScanPairInputs] = {
    {"xz", kXz, "(batch, length, 2 * channels)", InputType::kT},
    {"u", vim_contract::kSequence, "(batch, length, channels)", InputType::kT},
    {"projection", kRow, "(batch, length, rank + 2 * state)", InputType::kT},
    {"delta_weight", kPerRank, "(rank, channels)", InputType::kFloat32},
    {"A", kByState, "(state, channels)", InputType::kFloat32},
    {"D", vim_contract::kPerChannel, "(channels)", InputType::kFloat32},
    {"delta_bias", vim_contract::kPerChannel, "(channels)", InputType::kFloat32},
    {"u_b", vim_contract::kSequence, "(batch, length, channels)", InputType::kT},
    {"projection_b", kRow, "(batch, length, rank + 2 * state)", InputType::kT},
    {"delta_weight_b", kPerRank, "(rank, channels)", InputType::kFloat32},
    {"A_b", kByState, "(state, channels)", InputType::kFloat32},
    {"D_b", vim_contract::kPerChannel, "(channels)", InputType::kFloat32},
    {"delta_bias_b", vim_contract::kPerChannel, "(channels)", InputType::kFloat32},
};
constexpr TensorSpec kScanPairOutputs[] = {
    {"y", vim_contract::kSequence, "(batch, length, channels)", InputType::kT},
};
constexpr std::size_t kScanPairAttributes = 2;
constexpr const char* kScanPairAttributeNames[kScanPairAttributes] = {"delta_softplus", "average_directions"};

constexpr char kConvPairName[] = "CausalConvPair";
constexpr std::size_t kConvPairInputs = 5;
constexpr TensorSpec kConvPairSpecs[kConvPairInputs] = {
    {"xz", kXz, "(batch, length, 2 * channels)", InputType::kT},
    {"taps", kPerTap, "(width, channels)", InputType::kFloat32},
    {"bias", vim_contract::kPerChannel, "(channels)", InputType::kFloat32},
    {"taps_b", kPerTap, "(width, channels)", InputType::kFloat32},
    {"bias_b", vim_contract::kPerChannel, "(channels)", InputType::kFloat32},
};
constexpr TensorSpec kConvPairOutputs[] = {
    {"u", vim_contract::kSequence, "(batch, length, channels)", InputType::kT},
    {"u_b", vim_contract::kSequence, "(batch, length, channels)", InputType::kT},
};

}  // namespace vim_fused
