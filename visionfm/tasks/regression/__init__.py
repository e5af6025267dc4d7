"""Task kind `regression`."""
