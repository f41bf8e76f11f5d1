"""Classical methods to compare with: uint8 `[h, w, 3]` in, the same out."""
