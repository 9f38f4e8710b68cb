"""Files in int8 and fp8: the large matmuls have 8-bit weights and inputs, everything else is float32.

ONNX expresses this with QuantizeLinear and DequantizeLinear around the matmuls ("explicit quantization"),
which TensorRT replaces with matmuls in the 8-bit type, and ONNX Runtime for int8. Weights have one scale per
output channel in int8 and one per tensor in fp8. Inputs have one scale per tensor, which is computed from
images before the file is written.
"""
