"""Low-light image enhancement in JAX."""
