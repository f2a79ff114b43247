"""A name or a folder -> Dataset."""
