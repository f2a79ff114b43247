"""How bytes become named tensors, without running anything."""
