"""Features: every image is encoded once, kept by (image bytes, encoder, transform), and read by decoders from then on.

`extract` fills the caches, `cache` reads them, `embed` and `export` serve people who want the numbers themselves.
Torch is imported only where an image has to be encoded.
"""
