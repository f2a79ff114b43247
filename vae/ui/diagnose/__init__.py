"""The checks of the Diagnose page."""
