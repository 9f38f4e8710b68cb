"""The ONNX Runtime backend: engines for CPUs and for NVIDIA GPUs through the CUDA provider."""
