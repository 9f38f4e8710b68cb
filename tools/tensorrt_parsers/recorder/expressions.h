// The expressions with which a plugin computes its output's dimensions. Sizes that are not known stay so.
#pragma once

#include <deque>
#include <limits>
#include <optional>

#include "values.h"

namespace recorder {

struct Expression : nvinfer1::IDimensionExpr {
  struct Record : nvinfer1::apiv::VDimensionExpr {
    std::optional<Size> value;
    bool isConstant() const override { return value.has_value(); }
    Size getConstantValue() const override { return value.value_or(std::numeric_limits<Size>::min()); }
#if NV_TENSORRT_MAJOR >= 10
    bool isSizeTensor() const override { return false; }
#endif
  } record;
  explicit Expression(std::optional<Size> value = {}) {
    record.value = value;
    mImpl = &record;
  }
};

struct Expressions : nvinfer1::IExprBuilder {
  struct Record : nvinfer1::apiv::VExprBuilder {
    std::deque<Expression> all;
    const nvinfer1::IDimensionExpr* unknown() { return &all.emplace_back(); }
    const nvinfer1::IDimensionExpr* constant(Size value) override { return &all.emplace_back(value); }
#if NV_TENSORRT_MAJOR >= 10
    const nvinfer1::IDimensionExpr* declareSizeTensor(std::int32_t, const nvinfer1::IDimensionExpr&,
                                                      const nvinfer1::IDimensionExpr&) override {
      return unknown();
    }
#endif
    const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation operation, const nvinfer1::IDimensionExpr& a,
                                              const nvinfer1::IDimensionExpr& b) override;
  } record;
  Expressions() { mImpl = &record; }

  nvinfer1::DimsExprs of(const nvinfer1::Dims& dims);
};

nvinfer1::Dims dims_of(const nvinfer1::DimsExprs& expressions);

}  // namespace recorder
