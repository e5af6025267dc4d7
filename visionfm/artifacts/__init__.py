"""Artefacts: the only writer of results (`artifact`), how each format holds them, and the version of each stage.

`from visionfm import artifacts` gives stages all that they need of them.
"""

from visionfm.artifacts.artifact import (
    UNSEALED,
    Provenance,
    check_schema,
    is_artifact,
    payload_digest,
    provenance,
    read_hdf5,
    read_hdf5_arrays,
    read_json,
    read_metadata,
    read_table,
    read_tensors,
    read_text,
    recall,
    seal_file,
    sealed_metadata,
    unsealed_metadata,
    write_hdf5,
    write_json,
    write_table,
    write_tensors,
    write_text,
)
from visionfm.artifacts.files import KEPT, RESULTS, kept_path, publish
from visionfm.artifacts.versions import VERSIONS

__all__ = [
    "KEPT",
    "RESULTS",
    "UNSEALED",
    "VERSIONS",
    "Provenance",
    "check_schema",
    "is_artifact",
    "kept_path",
    "payload_digest",
    "provenance",
    "publish",
    "read_hdf5",
    "read_hdf5_arrays",
    "read_json",
    "read_metadata",
    "read_table",
    "read_tensors",
    "read_text",
    "recall",
    "seal_file",
    "sealed_metadata",
    "unsealed_metadata",
    "write_hdf5",
    "write_json",
    "write_table",
    "write_tensors",
    "write_text",
]
