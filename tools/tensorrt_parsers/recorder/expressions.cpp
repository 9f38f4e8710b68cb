#include "expressions.h"

namespace recorder {

using nvinfer1::DimensionOperation;
using nvinfer1::IDimensionExpr;

namespace {

std::optional<Size> computed(DimensionOperation operation, Size a, Size b) {
  switch (operation) {
    case DimensionOperation::kSUM: return a + b;
    case DimensionOperation::kPROD: return a * b;
    case DimensionOperation::kMAX: return std::max(a, b);
    case DimensionOperation::kMIN: return std::min(a, b);
    case DimensionOperation::kSUB: return a - b;
    case DimensionOperation::kEQUAL: return a == b;
    case DimensionOperation::kLESS: return a < b;
    case DimensionOperation::kFLOOR_DIV: return b ? std::optional<Size>(a / b) : std::nullopt;
    case DimensionOperation::kCEIL_DIV: return b ? std::optional<Size>((a + b - 1) / b) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

const IDimensionExpr* Expressions::Record::operation(DimensionOperation operation, const IDimensionExpr& a,
                                                     const IDimensionExpr& b) {
  if (!a.isConstant() || !b.isConstant()) return unknown();
  return &all.emplace_back(computed(operation, a.getConstantValue(), b.getConstantValue()));
}

nvinfer1::DimsExprs Expressions::of(const nvinfer1::Dims& dims) {
  nvinfer1::DimsExprs out{};
  out.nbDims = dims.nbDims;
  for (int i = 0; i < dims.nbDims; ++i) out.d[i] = dims.d[i] < 0 ? record.unknown() : record.constant(dims.d[i]);
  return out;
}

nvinfer1::Dims dims_of(const nvinfer1::DimsExprs& expressions) {
  nvinfer1::Dims dims{};
  dims.nbDims = expressions.nbDims;
  for (int i = 0; i < dims.nbDims; ++i)
    dims.d[i] = expressions.d[i]->isConstant() ? expressions.d[i]->getConstantValue() : -1;
  return dims;
}

}  // namespace recorder
