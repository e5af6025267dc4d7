"""Tasks on patch tokens: one map per image (segmentation, landmarks)."""
