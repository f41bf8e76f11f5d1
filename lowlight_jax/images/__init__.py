"""Image files: formats, bit depth, EXIF, colour profiles."""
