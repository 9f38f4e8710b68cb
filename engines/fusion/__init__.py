"""Graph fusion for engines: groups of nodes are replaced with the operators of `plugins/fused/`."""
