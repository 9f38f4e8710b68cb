"""The parts of a run of vim-infer: what it works on, how it stops, what it counts."""
