"""A task from outside the package: the certainty of a classifier, one number per image."""
