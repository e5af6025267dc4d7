"""Task kind `classification`."""
