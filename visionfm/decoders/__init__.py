"""Decoders: from cached features to predictions.

`heads` and `fusion` are the networks, `training` the one loop that all task kinds share, and each kind is a file
(`classification`, `regression`): targets to losses, outputs to predictions. `recipes` holds every hyper-parameter,
`train` and `predict` are the stages. Invariant: a decoder is a function of train.parquet, the features of its rows,
settings and seed.
"""
