// A network that records the layers that a parser adds to it.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "records.h"

namespace recorder {

class NetworkRecord : public NetworkDefinitionBase {
 public:
  // In the order in which they were added.
  std::vector<LayerRecord*> layers;
  std::vector<nvinfer1::ITensor*> inputs, outputs;
  std::map<const void*, std::string> weight_names;  // by the address of the weights
  nvinfer1::IBuilder* builder = nullptr;

  void update();  // shapes and types of all tensors, with the mismatches of the whole network

  nvinfer1::ITensor* addInput(const char* name, nvinfer1::DataType type, DimsArgument dims) noexcept override;
  void markOutput(nvinfer1::ITensor& tensor) noexcept override;
  std::int32_t getNbLayers() const noexcept override { return static_cast<std::int32_t>(interfaces_.size()); }
  nvinfer1::ILayer* getLayer(std::int32_t i) const noexcept override { return interfaces_[std::size_t(i)]; }
  std::int32_t getNbInputs() const noexcept override { return static_cast<std::int32_t>(inputs.size()); }
  nvinfer1::ITensor* getInput(std::int32_t i) const noexcept override { return inputs[std::size_t(i)]; }
  std::int32_t getNbOutputs() const noexcept override { return static_cast<std::int32_t>(outputs.size()); }
  nvinfer1::ITensor* getOutput(std::int32_t i) const noexcept override { return outputs[std::size_t(i)]; }
  void setName(const char* text) noexcept override { name_ = text; }
  const char* getName() const noexcept override { return name_.c_str(); }
  bool hasImplicitBatchDimension() const noexcept override { return false; }
  void setErrorRecorder(nvinfer1::IErrorRecorder* recorder) noexcept override { error_recorder_ = recorder; }
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return error_recorder_; }
  nvinfer1::IBuilder& getBuilder() const noexcept override { return *builder; }
  bool setWeightsName(nvinfer1::Weights weights, const char* name) noexcept override {
    return weight_names[weights.values] = name, true;
  }

  nvinfer1::IActivationLayer* addActivation(nvinfer1::ITensor&, nvinfer1::ActivationType) noexcept override;
  nvinfer1::ICastLayer* addCast(nvinfer1::ITensor&, nvinfer1::DataType) noexcept override;
  nvinfer1::IConcatenationLayer* addConcatenation(nvinfer1::ITensor* const*, std::int32_t) noexcept override;
  nvinfer1::IConstantLayer* addConstant(DimsArgument, nvinfer1::Weights) noexcept override;
  nvinfer1::IConvolutionLayer* addConvolutionNd(nvinfer1::ITensor&, Size maps, DimsArgument kernel, nvinfer1::Weights,
                                                nvinfer1::Weights bias) noexcept override;
  nvinfer1::IDeconvolutionLayer* addDeconvolutionNd(nvinfer1::ITensor&, Size maps, DimsArgument kernel,
                                                    nvinfer1::Weights, nvinfer1::Weights bias) noexcept override;
  nvinfer1::IDequantizeLayer* addDequantize(nvinfer1::ITensor&, nvinfer1::ITensor& scale) noexcept override;
  nvinfer1::IElementWiseLayer* addElementWise(nvinfer1::ITensor&, nvinfer1::ITensor&,
                                              nvinfer1::ElementWiseOperation) noexcept override;
  nvinfer1::IFillLayer* addFill(DimsArgument, nvinfer1::FillOperation) noexcept override;
  nvinfer1::IGatherLayer* addGather(nvinfer1::ITensor&, nvinfer1::ITensor& indices, std::int32_t axis) noexcept override;
  nvinfer1::IGatherLayer* addGatherV2(nvinfer1::ITensor&, nvinfer1::ITensor& indices,
                                      nvinfer1::GatherMode) noexcept override;
  nvinfer1::IIdentityLayer* addIdentity(nvinfer1::ITensor&) noexcept override;
  nvinfer1::IMatrixMultiplyLayer* addMatrixMultiply(nvinfer1::ITensor&, nvinfer1::MatrixOperation, nvinfer1::ITensor&,
                                                    nvinfer1::MatrixOperation) noexcept override;
  nvinfer1::INMSLayer* addNMS(nvinfer1::ITensor& boxes, nvinfer1::ITensor& scores,
                              nvinfer1::ITensor& most) noexcept override;
  nvinfer1::INonZeroLayer* addNonZero(nvinfer1::ITensor&) noexcept override;
  nvinfer1::INormalizationLayer* addNormalization(nvinfer1::ITensor&, nvinfer1::ITensor& scale,
                                                  nvinfer1::ITensor& bias, std::uint32_t axes) noexcept override;
  nvinfer1::IPoolingLayer* addPoolingNd(nvinfer1::ITensor&, nvinfer1::PoolingType, DimsArgument) noexcept override;
  nvinfer1::IQuantizeLayer* addQuantize(nvinfer1::ITensor&, nvinfer1::ITensor& scale) noexcept override;
  nvinfer1::IReduceLayer* addReduce(nvinfer1::ITensor&, nvinfer1::ReduceOperation, std::uint32_t axes,
                                    bool keep) noexcept override;
  nvinfer1::IResizeLayer* addResize(nvinfer1::ITensor&) noexcept override;
  nvinfer1::IScaleLayer* addScale(nvinfer1::ITensor&, nvinfer1::ScaleMode, nvinfer1::Weights shift,
                                  nvinfer1::Weights scale, nvinfer1::Weights power) noexcept override;
  nvinfer1::IScaleLayer* addScaleNd(nvinfer1::ITensor&, nvinfer1::ScaleMode, nvinfer1::Weights shift,
                                    nvinfer1::Weights scale, nvinfer1::Weights power,
                                    std::int32_t axis) noexcept override;
  nvinfer1::IScatterLayer* addScatter(nvinfer1::ITensor&, nvinfer1::ITensor& indices, nvinfer1::ITensor& updates,
                                      nvinfer1::ScatterMode) noexcept override;
  nvinfer1::ISelectLayer* addSelect(nvinfer1::ITensor& condition, nvinfer1::ITensor&,
                                    nvinfer1::ITensor&) noexcept override;
  nvinfer1::IShapeLayer* addShape(nvinfer1::ITensor&) noexcept override;
  nvinfer1::IShuffleLayer* addShuffle(nvinfer1::ITensor&) noexcept override;
  nvinfer1::ISliceLayer* addSlice(nvinfer1::ITensor&, DimsArgument start, DimsArgument size,
                                  DimsArgument stride) noexcept override;
  nvinfer1::ISoftMaxLayer* addSoftMax(nvinfer1::ITensor&) noexcept override;
  nvinfer1::ITopKLayer* addTopK(nvinfer1::ITensor&, nvinfer1::TopKOperation, std::int32_t k,
                                std::uint32_t axes) noexcept override;
  nvinfer1::IUnaryLayer* addUnary(nvinfer1::ITensor&, nvinfer1::UnaryOperation) noexcept override;
#if NV_TENSORRT_MAJOR >= 10
  nvinfer1::IDequantizeLayer* addDequantizeV2(nvinfer1::ITensor&, nvinfer1::ITensor& scale,
                                              nvinfer1::DataType) noexcept override;
  nvinfer1::IQuantizeLayer* addQuantizeV2(nvinfer1::ITensor&, nvinfer1::ITensor& scale,
                                          nvinfer1::DataType) noexcept override;
  nvinfer1::IFillLayer* addFillV2(DimsArgument, nvinfer1::FillOperation, nvinfer1::DataType) noexcept override;
  nvinfer1::IPluginV3Layer* addPluginV3(nvinfer1::ITensor* const*, std::int32_t, nvinfer1::ITensor* const*,
                                        std::int32_t, nvinfer1::IPluginV3&) noexcept override;
  nvinfer1::NetworkDefinitionCreationFlags getFlags() const noexcept override;
  bool getFlag(nvinfer1::NetworkDefinitionCreationFlag flag) const noexcept override;
#else
  bool hasExplicitPrecision() const noexcept override { return false; }
#endif
#if RECORDER_HAS_SQUEEZE
  nvinfer1::ISqueezeLayer* addSqueeze(nvinfer1::ITensor&, nvinfer1::ITensor& axes) noexcept override;
  nvinfer1::IUnsqueezeLayer* addUnsqueeze(nvinfer1::ITensor&, nvinfer1::ITensor& axes) noexcept override;
#endif
#if NV_TENSORRT_MAJOR < 10
  nvinfer1::IPluginV2Layer* addPluginV2(nvinfer1::ITensor* const*, std::int32_t,
                                        nvinfer1::IPluginV2&) noexcept override;
#endif

 private:
  template <class Interface, class Record>
  Layer<Interface, Record>* add(nvinfer1::LayerType type, const char* kind, std::vector<nvinfer1::ITensor*> given,
                                int output_count, ShapeRule rule);
  Tensor* add_tensor(LayerRecord* owner, const std::string& name);

  std::deque<Tensor> tensors_;
  std::vector<nvinfer1::ILayer*> interfaces_;
  std::string name_;
  nvinfer1::IErrorRecorder* error_recorder_ = nullptr;
};

struct Network : nvinfer1::INetworkDefinition {
  NetworkRecord record;
  Network() { mImpl = &record; }
};

}  // namespace recorder
