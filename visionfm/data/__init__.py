"""Images, labels and splits: everything between a folder on disk and a table of samples; imports no torch."""
