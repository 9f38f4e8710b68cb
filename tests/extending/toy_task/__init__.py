"""A task from outside the package: how certain a classifier is, as one number per image."""
