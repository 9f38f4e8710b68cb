"""From windows' logits to label maps, their files and their figures, without PyTorch."""
