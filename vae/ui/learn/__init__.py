"""The parts of the page Learn: where one is in the course, a step, its questions, its live part."""
