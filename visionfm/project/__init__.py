"""The config as a whole: loading with all errors at once, references between blocks, the plan of all artefacts."""
