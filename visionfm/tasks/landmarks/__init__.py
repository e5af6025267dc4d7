"""Task kind `landmarks`."""
