// Parses an ONNX file with TensorRT's parser into a network that records its layers. No GPU is used and nothing is
// built.
//
//   record_network PARSER_LIBRARY MODEL.onnx OUT.json OUT.weights [PLUGIN_LIBRARY...]
//
// OUT.json describes the layers, OUT.weights has the bytes of their weights. Exit codes: 0, 1 if the parser refuses the
// file, 2 for other errors.
#include <fstream>
#include <iostream>
#include <iterator>

#include "parser.h"
#include "refit.h"
#include "registry.h"
#include "report.h"

namespace {

using namespace recorder;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Outcome parse(const ParserLibrary& library, Network& network, Logger& logger, const std::string& model) {
  Outcome outcome;
  nvonnxparser::IParser* parser = library.create(network, logger);
  outcome.parsed = parser->parse(model.data(), model.size());
  for (int i = 0; i < parser->getNbErrors(); ++i) {
    const nvonnxparser::IParserError* error = parser->getError(i);
    outcome.errors.push_back("node " + std::to_string(error->node()) + ": " + error->desc());
  }
#if NV_TENSORRT_MAJOR >= 10
  static Logger refit_logger;  // the report has the errors of refits with their results
  if (outcome.parsed) outcome.refit = refit_json(network.record, library, refit_logger, model);
#endif
  return outcome;
}

int record(const std::vector<std::string>& arguments) {
  const ParserLibrary library(arguments[0]);
  for (std::size_t i = 4; i < arguments.size(); ++i) {
    const std::string error = load_plugins(arguments[i]);
    if (!error.empty()) throw std::runtime_error(error);
  }
  Logger logger;
  Builder builder(logger);
  Network network;
  network.record.builder = &builder;
  const Outcome outcome = parse(library, network, logger, read(arguments[1]));
  std::ofstream description(arguments[2]);
  write_report(description, network.record, outcome, logger);
  std::ofstream weights(arguments[3], std::ios::binary);
  weights << weight_bytes();
  description.close();
  weights.close();
  if (!description || !weights) throw std::runtime_error("cannot write " + arguments[2] + " and " + arguments[3]);
  return outcome.parsed ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  int status = 2;
  try {
    if (arguments.size() < 4)
      std::cerr << "usage: record_network PARSER_LIBRARY MODEL.onnx OUT.json OUT.weights [PLUGIN_LIBRARY...]\n";
    else
      status = record(arguments);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
  }
  std::cerr.flush();
  // The libraries' destructors expect objects that the recorder keeps until the end.
  std::_Exit(status);
}
