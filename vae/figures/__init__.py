"""Numpy in, plotly Figure out: a file per page that draws."""
