"""Images of any size through a network or a method: one image in, one out."""
