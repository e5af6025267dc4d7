"""From numbers to SVG, and pictures laid over images; pure functions."""
