"""A run of vim-infer: find images, decode, batch, run the engine, write rows."""
