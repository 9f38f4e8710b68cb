"""Fusion for CPU engines, which also have fused operators for norms and matmuls."""
