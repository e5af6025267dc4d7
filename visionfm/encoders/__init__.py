"""Encoders: foreign checkpoints become one checked `encoder.safetensors`, which becomes features.

`checksum` and `importing` are stages; `checkpoints`, `dialects` and `architectures` recognise and convert; `vit`
computes features. Importing this package imports no torch.
"""
