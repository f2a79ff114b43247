"""The parts of the Traverse page."""
