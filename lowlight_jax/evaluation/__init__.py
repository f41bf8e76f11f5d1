"""Scores of 8-bit images, and comparisons of methods."""
