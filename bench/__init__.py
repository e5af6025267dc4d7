"""Benchmarks: each prints `name | reference | ours | ratio | wanted`, reference and ours in the same run."""
