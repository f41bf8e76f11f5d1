"""Video: what holds from frame to frame."""
