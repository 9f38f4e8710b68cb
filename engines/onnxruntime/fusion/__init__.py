"""Graph fusion for CPU engines: groups of nodes become the operators of `plugins/fused/`."""
