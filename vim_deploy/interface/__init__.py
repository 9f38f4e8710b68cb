"""The Python interface: `load`, `export`, `build` and the model that `load` returns."""
