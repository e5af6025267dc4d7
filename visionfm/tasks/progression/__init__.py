"""Task kind `progression`."""
