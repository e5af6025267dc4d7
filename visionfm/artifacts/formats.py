"""How each artefact format holds arrays or tables together with a flat `str -> str` metadata.

Pure functions between Python objects and bytes; equal input gives equal bytes (no dates, no hash order). `artifacts`
adds the checksums and does the writing.
"""

import hashlib
import io
import json
import mmap
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# What parsers raise on bytes that are not what they expect.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
)
ROWS_AT_ONCE = 65_536
BATCH_ROWS = 16_384  # so that a batch of thumbnails takes some 20 MB
ROWS_A_BYTE, UNPACKED_A_BYTE, UNPACKED_FREE = 100, 1000, 64_000_000  # more than any table of images has
SUFFIXES = (".parquet", ".h5", ".safetensors", ".zip", ".vfm", ".json", ".html", ".md")  # of files that carry metadata
HEAP = b"GCOL\x01\0\0\0"  # begins a collection of texts in HDF5
TEXT = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])  # how a dataset says where a text of it lies
COMMENT = ("\n<!-- visionfm ", " -->\n")
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_CODES = {name: code for code, name in _DTYPES.items()}


# --- digests --------------------------------------------------------------------------------------------------------


def table_digest(table: Any, left_out: tuple[str, ...], extra: Mapping[str, str]) -> str:
    """Return the sha256 of a table's columns (names, types, values) and of its own metadata."""
    digest = hashlib.sha256(json.dumps(dict(extra), sort_keys=True).encode())
    table = table.combine_chunks()
    for name in table.column_names:
        if name in left_out:
            continue
        column = table.column(name)
        digest.update(f"\n{name}:{column.type}\n".encode())
        for chunk in column.chunks:
            between = b""
            for start in range(0, len(chunk), ROWS_AT_ONCE):  # as objects of Python they take many times their bytes
                digest.update(between + _lines(chunk.slice(start, ROWS_AT_ONCE)).encode())
                between = b"\n"
            digest.update(b"\n")
    return digest.hexdigest()


def _lines(values: Any) -> str:
    """Return an Arrow array as JSON, a line per value, and per value inside of a list or struct.

    Nested values are put together as columns: as Python's lists and dicts they take three times as long.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(values.type) or pa.types.is_struct(values.type):
        return "\n".join(_json_texts(values).to_pylist())
    if pa.types.is_string(values.type) and len(values) and _is_plain(values):
        one = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), _json_texts(values))
        return str(pc.binary_join(one, "\n")[0].as_py())
    return json.dumps(values.to_pylist(), ensure_ascii=True, separators=("\n", ":"))[1:-1]


def _json_texts(values: Any) -> Any:
    """Return the JSON of each value of an Arrow array, a line per value inside of it, as an array of texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(values.type):
        counts = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
        inside = pc.binary_join(pa.ListArray.from_arrays(offsets, _json_texts(values.flatten())), "\n")
        texts = pc.binary_join_element_wise("[", inside, "]", "")
    elif pa.types.is_struct(values.type) and values.type.num_fields:
        named = zip(values.type, values.flatten(), strict=True)
        fields = [pc.binary_join_element_wise(json.dumps(one.name), _json_texts(inside), ":") for one, inside in named]
        texts = pc.binary_join_element_wise("{", pc.binary_join_element_wise(*fields, "\n"), "}", "")
    elif pa.types.is_string(values.type) and _is_plain(values):
        texts = pc.binary_join_element_wise('"', values, '"', "")
    else:
        return pa.array(_lines(values).split("\n") if len(values) else [], pa.string())
    return pc.fill_null(pc.if_else(values.is_valid(), texts, None), "null")


def _is_plain(texts: Any) -> bool:
    """Tell whether JSON writes every text of an Arrow array as it is, between quotes."""
    _, offsets, content = texts.buffers()
    if content is None or not len(texts):
        return True
    first, last = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1][[0, -1]]
    signs = np.frombuffer(content, np.uint8)[first:last]
    return not ((signs < 32) | (signs > 126) | (signs == 34) | (signs == 92)).any()


def arrays_digest(arrays: Mapping[str, Any], extra: Mapping[str, str]) -> str:
    """Return the sha256 of arrays (names, dtypes, shapes, values) and of their own metadata."""
    digest = hashlib.sha256(json.dumps(dict(extra), sort_keys=True).encode())
    for name in sorted(arrays):
        value = arrays[name]
        if isinstance(value, list):
            digest.update(f"\n{name}:str\n".encode() + json.dumps(value).encode())
        else:
            array = np.ascontiguousarray(value)
            digest.update(f"\n{name}:{array.dtype}:{array.shape}\n".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


# --- to bytes -------------------------------------------------------------------------------------------------------


def table_bytes(table: Any, metadata: Mapping[str, str]) -> bytes:
    """Return a Parquet file; the Arrow schema is not stored beside it, so that the checksum field occurs once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    table = table.combine_chunks().replace_schema_metadata(None)
    with pq.ParquetWriter(sink, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(dict(metadata))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def tensors_bytes(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> bytearray:
    """Return a safetensors file with tensors by name and a sorted header (the library writes it in hash order)."""
    arrays = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    at = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = bytearray(struct.pack("<Q", len(text)) + text)
    for array in arrays.values():
        data += array.tobytes()
    return data


def hdf5_bytes(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Return an HDF5 file; lists of str become variable-length UTF-8 datasets, metadata fixed-length attributes."""
    import h5py

    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        for name in sorted(arrays):
            value = arrays[name]
            if isinstance(value, list):
                file.create_dataset(name, data=np.array(value, dtype=object), dtype=h5py.string_dtype("utf-8"))
            else:
                file.create_dataset(name, data=value)
        for name, text in sorted(metadata.items()):
            file.attrs[name] = np.bytes_(text.encode())
    return target.getvalue()


def text_bytes(text: str, metadata: Mapping[str, str]) -> bytes:
    """Return an HTML or Markdown text with its metadata in a trailing comment (`--` cannot occur in it)."""
    comment = json.dumps(dict(metadata), sort_keys=True).replace("--", "-\\u002d")
    return (text + COMMENT[0] + comment + COMMENT[1]).encode()


def json_bytes(content: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Return a JSON object with its metadata under `visionfm`."""
    return (json.dumps({**content, "visionfm": dict(metadata)}, sort_keys=True, indent=1) + "\n").encode()


# --- from files -----------------------------------------------------------------------------------------------------


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a file by its suffix."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        stored = pq.read_metadata(path).metadata or {}
        return {name.decode(): text.decode() for name, text in stored.items()}
    if path.suffix == ".safetensors":
        return dict(_tensor_header(path)[0].get("__metadata__", {}))
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r", locking=False) as file:
            return {name: bytes(text).decode() for name, text in file.attrs.items()}
    if path.suffix in (".zip", ".vfm"):
        with zipfile.ZipFile(path) as archive:
            return dict(json.loads(archive.comment))
    if path.suffix == ".json":
        return dict(json.loads(path.read_text(encoding="utf-8"))["visionfm"])
    if path.suffix in (".html", ".md"):
        return dict(json.loads(_text_and_comment(path)[1]))
    raise ValueError(f"files ending in {path.suffix!r} carry no metadata; expected {' '.join(SUFFIXES)}")


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, its metadata among it."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def read_text(path: Path) -> str:
    """Return an HTML or Markdown text without its metadata."""
    return _text_and_comment(path)[0]


def _text_and_comment(path: Path) -> tuple[str, str]:
    text, found, tail = path.read_text(encoding="utf-8").rpartition(COMMENT[0])
    if not found:
        raise ValueError("no metadata comment at its end")
    return text, tail[: -len(COMMENT[1])]


def check_unpacked(metadata: Any, file_bytes: int) -> None:
    """Raise ValueError where a Parquet file says that it unpacks to more than a table of its size would."""
    # Of a column pyarrow's own metadata may not be asked: what cannot be there ends the whole process (as of 26.0).
    unpacked = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if metadata.num_rows > ROWS_A_BYTE * file_bytes or unpacked > UNPACKED_FREE + UNPACKED_A_BYTE * file_bytes:
        raise ValueError(f"{file_bytes:,} bytes that claim to hold {metadata.num_rows:,} rows, {unpacked:,} bytes")


def read_table(path: Path, columns: tuple[str, ...] | None) -> Any:
    """Return a Parquet file, or some of its columns, as `pyarrow.Table`, its key-value metadata as the schema's."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        check_unpacked(file.metadata, path.stat().st_size)
        return file.read(columns).replace_schema_metadata(file.metadata.metadata)


def table_batches(source: Path | BinaryIO, columns: tuple[str, ...]) -> Iterator[Any]:
    """Yield a Parquet file's columns as record batches of Arrow, some thousand rows at a time."""
    import pyarrow.parquet as pq

    size = source.stat().st_size if isinstance(source, Path) else os.fstat(source.fileno()).st_size
    with pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20) as file:
        check_unpacked(file.metadata, size)
        yield from file.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False)


def _tensor_header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        return json.loads(handle.read(length)), 8 + length


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the arrays of a safetensors file, by name."""
    header, start = _tensor_header(path)
    content = path.read_bytes()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(content) - start:
            raise ValueError(f"the tensor {name} does not lie inside the file")
        flat = np.frombuffer(content[start + begin : start + end], dtype=_DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).copy()
    return tensors


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a safetensors file's tensors, by name."""
    header, _ = _tensor_header(path)
    return {name: tuple(map(int, entry["shape"])) for name, entry in header.items() if name != "__metadata__"}


def _check_heaps(path: Path, dataset: Any) -> None:
    """Raise ValueError where texts of a dataset lie so that HDF5's own reader would come to no end.

    A heap is b"GCOL", version 1, its size (8 bytes), then entries: index (2), count (2), 4 unused, size (8), the text,
    filled up to 8. Index 0 is the room that is left, its size with the head (HDF5 file format 3.0, III.E). An entry
    that takes no room has no next. Only the heaps that the texts name are read: the file may be of any size.
    """
    if dataset.size == 0:
        return
    start, stored_bytes = dataset.id.get_offset(), dataset.id.get_storage_size()
    if start is None or stored_bytes != dataset.size * TEXT.itemsize or dataset.file.userblock_size:
        raise ValueError(f"{dataset.name}: texts that do not lie in one piece")
    heaps = np.unique(np.fromfile(path, TEXT, dataset.size, offset=start)["heap"])
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for at in heaps[heaps > 0].tolist():  # an empty text lies at 0
            if data[at : at + len(HEAP)] != HEAP:
                raise ValueError("texts that lie outside of every heap")
            end, place = at + int.from_bytes(data[at + 8 : at + 16], "little"), at + 16
            while place + 16 <= min(end, len(data)):
                index, size = struct.unpack("<H6xQ", data[place : place + 16])
                step = 16 + (size + 7) // 8 * 8 if index else size
                if step == 0 or place + step > end:
                    raise ValueError("texts that lie one over the other")
                place += step


def read_hdf5(path: Path, names: tuple[str, ...] | None) -> dict[str, Any]:
    """Return the datasets of an HDF5 file; text comes back as object arrays of str."""
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        arrays = {}
        for name in names or sorted(file):
            dataset = file[name]
            # Ours are stored as they are: whoever claims more would make the library ask for memory without end.
            if dataset.size * dataset.id.get_type().get_size() > path.stat().st_size or dataset.external:
                raise ValueError(f"{name} claims to hold more than the file does")
            if dataset.dtype.hasobject:
                _check_heaps(path, dataset)
            arrays[name] = dataset.asstr()[()] if h5py.check_string_dtype(dataset.dtype) else dataset[()]
        return arrays
