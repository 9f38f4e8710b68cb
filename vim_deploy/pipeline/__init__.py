"""A run of vim-infer: finds and decodes images, runs the engine in batches, and writes rows."""
