"""Tasks: from labelled images and cached features to decoders, predictions and metrics."""
