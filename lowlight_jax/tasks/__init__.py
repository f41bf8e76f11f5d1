"""What networks are for: each task in a file of its own; `task` says what one is."""
