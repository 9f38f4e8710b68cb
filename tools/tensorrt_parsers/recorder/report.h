// The report on a recorded network, as JSON.
#pragma once

#include <ostream>

#include "network.h"

namespace recorder {

struct Logger : nvinfer1::ILogger {
  std::vector<std::string> messages;  // warnings and errors
  void log(Severity severity, const char* text) noexcept override {
    if (severity <= Severity::kWARNING) messages.emplace_back(text);
  }
};

struct Outcome {
  bool parsed = false;
  std::vector<std::string> errors;
  std::string refit;  // JSON, empty if nothing was refitted
};

void write_report(std::ostream& out, NetworkRecord& network, const Outcome& outcome, const Logger& logger);

}  // namespace recorder
