// What a parser's refitter (10 and later) gives to an engine without weights.
#pragma once

#include <string>

#include "network.h"
#include "parser.h"

namespace recorder {

// JSON of two refits with the same file: of an engine that asks for the named floating-point weights, and of one that
// asks for all named weights. Which a real engine asks for is TensorRT's decision while it builds.
std::string refit_json(const NetworkRecord& network, const ParserLibrary& library, nvinfer1::ILogger& logger,
                       const std::string& model);

}  // namespace recorder
