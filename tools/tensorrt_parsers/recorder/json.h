// JSON text of what a parser sets on layers, and the file with the bytes of weights.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdint>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "NvInfer.h"

namespace recorder {

inline std::string json(const std::string& text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    char escaped[8];
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 32) {
      std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
      out += escaped;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}
inline std::string json(const char* text) { return json(std::string(text ? text : "")); }
inline std::string json(bool value) { return value ? "true" : "false"; }
inline std::string json(std::int32_t value) { return std::to_string(value); }
inline std::string json(std::uint32_t value) { return std::to_string(value); }
inline std::string json(std::int64_t value) { return std::to_string(value); }
inline std::string json(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  std::ostringstream out;
  out.precision(17);
  out << value;
  return out.str();
}
inline std::string json(float value) { return json(static_cast<double>(value)); }

// Operations and modes are numbers; tools/tensorrt_parsers/compute.py has their names.
template <class Enumeration, class = std::enable_if_t<std::is_enum<Enumeration>::value>>
std::string json(Enumeration value) {
  return std::to_string(static_cast<int>(value));
}

template <class Range, class Text>
std::string json_list(const Range& range, const Text& text_of) {
  std::string out = "[";
  for (const auto& item : range) {
    if (out.size() > 1) out += ",";
    out += text_of(item);
  }
  return out + "]";
}
inline std::string json(const std::vector<float>& values) {
  return json_list(values, [](float value) { return json(value); });
}
template <class Strings>
std::string json_strings(const Strings& strings) {
  return json_list(strings, [](const std::string& text) { return json(text); });
}
inline std::string json(const nvinfer1::Dims& dims) {
  if (dims.nbDims < 0) return "null";
  return json_list(std::vector<std::int64_t>(dims.d, dims.d + dims.nbDims),
                   [](std::int64_t size) { return json(size); });
}
inline std::string json(const nvinfer1::Permutation& permutation) {
  return json_list(permutation.order, [](std::int32_t axis) { return json(axis); });
}

// The name that numpy and PyTorch have for a type.
const char* name_of(nvinfer1::DataType type);
std::size_t width_of(nvinfer1::DataType type);

// Bytes of all weights; the JSON of weights has the offset.
inline std::string& weight_bytes() {
  static std::string bytes;
  return bytes;
}
inline std::string json(const nvinfer1::Weights& weights) {
  std::ostringstream out;
  out << "{\"type\":" << json(name_of(weights.type)) << ",\"count\":" << weights.count
      << ",\"offset\":" << weight_bytes().size() << "}";
  if (weights.values)
    weight_bytes().append(static_cast<const char*>(weights.values),
                          static_cast<std::size_t>(weights.count) * width_of(weights.type));
  return out.str();
}

}  // namespace recorder
