"""The report: all results as one page."""
