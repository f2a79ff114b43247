"""A data set seen through a model."""
