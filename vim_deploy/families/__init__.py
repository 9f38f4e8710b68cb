"""Model families: what export and validation need to know of a model, one module each."""
