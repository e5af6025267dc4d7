"""Metrics as pure functions of arrays, and their intervals; no files."""
