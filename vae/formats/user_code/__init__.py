"""A model or data of a person's own code."""
