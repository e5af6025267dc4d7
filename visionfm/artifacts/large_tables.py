"""Parquet artefacts larger than memory: written a piece at a time into a file that is sealed and published whole.

Invariant: a table of one piece has the bytes that `write_table` gives it.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from visionfm.artifacts import formats
from visionfm.artifacts.artifact import Provenance, seal_file, unsealed_metadata
from visionfm.artifacts.files import publish_file, temporary_for

PIECE_ROWS = 65_536  # one row group of the file


def write_pieces(
    path: str | Path,
    pieces: Iterable[Any],
    arrow_schema: Any,
    made_by: Provenance,
    *,
    schema: str,
    payload: Any,
    extra: Callable[[], Mapping[str, str]],
    not_payload: tuple[str, ...] = (),
) -> None:
    """Publish pieces of a table, each a `pyarrow.Table` of `arrow_schema`, as one Parquet file.

    `payload` is the whole table, but for columns in `not_payload`; `extra` is asked for when all pieces are written.
    """
    import pyarrow.parquet as pq

    path = Path(path)
    with temporary_for(path) as temporary:
        with pq.ParquetWriter(temporary, arrow_schema, compression="zstd", store_schema=False) as writer:
            for piece in pieces:
                writer.write_table(piece.combine_chunks().replace_schema_metadata(None))
            said = extra()
            digest = formats.table_digest(payload, not_payload, {n: t for n, t in said.items() if n not in not_payload})
            writer.add_key_value_metadata(unsealed_metadata(path, made_by, schema, digest, said))
        seal_file(temporary)
        publish_file(temporary, path)
