"""The parts of the Inference page."""
