"""How names and shapes become a model: one file per library."""
