"""Files in int8: the large matmuls have 8-bit weights and inputs, everything else is float32.

ONNX expresses this with QuantizeLinear and DequantizeLinear around the matmuls ("explicit quantization"),
which TensorRT and ONNX Runtime replace with integer matmuls. Weights have one scale per output channel,
inputs one scale per tensor, which is computed from images before the file is written.
"""
