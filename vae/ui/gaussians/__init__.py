"""The parts of the Gaussians page."""
