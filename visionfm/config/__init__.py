"""What every block of the config and every stage's settings share; knows no block."""
