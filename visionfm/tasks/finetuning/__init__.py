"""Fine-tuning: encoder and decoder trained together, on images."""
