"""Dense prediction on a Vision Mamba backbone: segmentation and detection in eager PyTorch.

Importing this package imports no framework.
"""
