// The operator's names, version, inputs and attributes, as in README.md. The adapters for the runtimes are written
// in terms of these tables; tests/ops/test_signature.py compares them with vim_deploy/ops/signature.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vim_contract {

constexpr char kDomain[] = "vim_deploy";
constexpr char kName[] = "SelectiveScan";
constexpr std::int32_t kVersion = 2;
constexpr char kVersionText[] = "2";
static_assert(kVersionText[0] - '0' == kVersion && kVersionText[1] == '\0', "");

// The sizes of tensors. kProjected is groups * state; the sizes after it only occur in the fused operators
// (../fused/contract_fused.h): kGated is 2 * channels, kColumns rank + 2 * state.
enum Size { kBatch, kLength, kChannels, kState, kProjected, kRank, kWidth, kGated, kColumns, kSizes };

constexpr std::size_t kMaxRank = 3;

struct Shape {
  std::size_t rank;
  Size sizes[kMaxRank];
};
constexpr Shape kSequence = {3, {kBatch, kLength, kChannels}};
constexpr Shape kProjection = {3, {kBatch, kLength, kProjected}};
constexpr Shape kPerState = {2, {kChannels, kState}};
constexpr Shape kPerChannel = {1, {kChannels}};

// The type T of u, delta, B, C, z and y, or float32 in every precision.
enum class InputType { kT, kFloat32 };

// X(index, name, shape, shape in words, type), in the operator's order.
#define VIM_SCAN_INPUTS(X)                                                        \
  X(kU, u, kSequence, "(batch, length, channels)", InputType::kT)                 \
  X(kDelta, delta, kSequence, "(batch, length, channels)", InputType::kT)         \
  X(kA, A, kPerState, "(channels, state)", InputType::kFloat32)                   \
  X(kB, B, kProjection, "(batch, length, groups x state)", InputType::kT)         \
  X(kC, C, kProjection, "(batch, length, groups x state)", InputType::kT)         \
  X(kD, D, kPerChannel, "(channels)", InputType::kFloat32)                        \
  X(kZ, z, kSequence, "(batch, length, channels)", InputType::kT)                 \
  X(kDeltaBias, delta_bias, kPerChannel, "(channels)", InputType::kFloat32)

#define VIM_SCAN_INDEX(index, name, shape, text, type) index,
#define VIM_SCAN_SPEC(index, name, shape, text, type) {#name, shape, text, type},
#define VIM_SCAN_SET(index, name, shape, text, type) \
  arguments.name = static_cast<decltype(arguments.name)>(data[index]);

enum Input : std::size_t { VIM_SCAN_INPUTS(VIM_SCAN_INDEX) kInputs };

struct InputSpec {
  const char* name;
  Shape shape;
  const char* shape_text;
  InputType type;
};
constexpr InputSpec kInputSpecs[kInputs] = {VIM_SCAN_INPUTS(VIM_SCAN_SPEC)};

// The only input that a node may leave out: the scan then has no gate.
constexpr std::size_t kOptionalInput = kZ;

// Sets the members of vim_scan::Arguments or vim_scan::CudaArguments that point to the inputs.
template <class Arguments>
void set_inputs(Arguments& arguments, const void* const* data) {
  VIM_SCAN_INPUTS(VIM_SCAN_SET)
}

#undef VIM_SCAN_INDEX
#undef VIM_SCAN_SPEC
#undef VIM_SCAN_SET

// The attributes: integers from 0 to 1, or from 1 to the number of channels.
struct Flags {
  std::int32_t delta_softplus;
  std::int32_t reverse;
  std::int32_t groups;
};
constexpr std::size_t kAttributes = 3;
struct AttributeSpec {
  const char* name;
  std::int32_t Flags::*value;
  std::int32_t least;
  std::int32_t most;
  const char* expected;
};
constexpr AttributeSpec kAttributeSpecs[kAttributes] = {
    {"delta_softplus", &Flags::delta_softplus, 0, 1, "0 or 1"},
    {"reverse", &Flags::reverse, 0, 1, "0 or 1"},
    {"groups", &Flags::groups, 1, INT32_MAX, "1 or more"},
};

}  // namespace vim_contract
