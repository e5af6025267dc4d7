"""Task kind `segmentation`."""
