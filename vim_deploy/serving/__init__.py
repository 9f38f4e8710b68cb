"""Model repositories of Triton Inference Server: `vim-build --triton`, and what the server runs."""

# The backends of the server that `vim-build --triton` writes models for.
SERVER_BACKENDS = ("python", "onnxruntime", "tensorrt")
