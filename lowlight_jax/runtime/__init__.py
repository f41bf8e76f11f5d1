"""What a process runs on: devices, caches, memory, signals, progress."""
