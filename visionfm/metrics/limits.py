"""What all intervals have in common: their level, whom they need at least, and the memory that they take at a time."""

LEVEL = 0.95
FEWEST_SUBJECTS = 5
MOST_UNDEFINED = 0.05  # share of draws in which a compared metric may not exist
# Of one array of weights; the metrics hold about six of this size at once. Small, because it should stay in the cache.
CHUNK_BYTES = 2_000_000
