"""Tasks on feature vectors: one vector per sample (classification, regression, progression)."""
