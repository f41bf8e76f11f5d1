"""Weights of other frameworks, converted."""
