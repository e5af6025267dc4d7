"""Reads the pickle in a weights file as data: a script of its own (standard library alone) that `pickles` starts.

Prints JSON: the content with each tensor as the place of its bytes, or why the file is refused. Invariant: nothing that
a pickle names is imported or called; memory and time are limited, and a crash ends this process alone.
"""

import json
import math
import pickle
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

MEMORY_BYTES = 2 << 30  # a checkpoint's pickle needs a few MB: tensors stay in the file
CPU_SECONDS, BYTES_A_SECOND = 60, 20_000_000  # checksums of the whole file are computed too
DEPTH, VALUES = 4, 1_000_000  # how deep the content is told, and how many values of it
COMPRESSION_LIMIT = 2  # torch.save stores without compression: a file that unpacks to more was made to do harm
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files from before torch 1.6

ITEM_BYTES = {
    **{"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "complex64": 8, "complex128": 16},
    **{"int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1},
    **{"float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1},
}
STORAGES = {
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8"},
    **{"ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8"},
    **{"ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128"},
}
WITHOUT_VALUES = {  # how torch rebuilds what holds no plain numbers -> why it cannot be used
    "_rebuild_qtensor": "quantised",
    "_rebuild_meta_tensor_no_storage": "without values (device meta)",
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_wrapper_subclass": "a tensor of another library",
    "_rebuild_device_tensor_from_cpu_tensor": "on a device of another library",
}
QUANTISED = {"QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4, "QUInt4x2Storage": 1, "QUInt2x4Storage": 1}
NUMPY_FORMATS = {
    **{"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b"},
    **{"u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?"},
}


class Refused(Exception):
    """The file cannot be used; its text says what was found."""


class Named:
    """Stands for whatever a pickle names beside the known: it can be made, called and filled, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take anything."""

    def __call__(self, *_: Any, **__: Any) -> "Named":
        """Return the same."""
        return self

    def __setstate__(self, state: Any) -> None:
        """Take any state."""

    def __setitem__(self, name: Any, value: Any) -> None:
        """Take any item."""

    def append(self, value: Any) -> None:
        """Take any element."""


class Namespace(Named):
    """An `argparse.Namespace`: training arguments."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        """Keep the arguments."""
        self.state = state if isinstance(state, dict) else None


class Storage:
    """The bytes of one or more tensors, by their key in the file; `start` once the place in the file is known."""

    def __init__(self, dtype: str, key: str, count: int, item_bytes: int) -> None:
        """`count` values of `item_bytes` each."""
        self.dtype, self.key, self.count, self.item_bytes = dtype, key, count, item_bytes
        self.start: int | None = None


class Tensor:
    """A view into a storage."""

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any, dtype: str | None = None) -> None:
        """Take what torch's rebuild functions get; raises Refused for what is no tensor."""
        numbers = [offset, *size, *stride] if isinstance(size, tuple) and isinstance(stride, tuple) else [None]
        if not isinstance(storage, Storage) or any(type(number) is not int for number in numbers):
            raise Refused("a tensor that is none")
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride
        self.dtype = dtype or storage.dtype


class Unusable:
    """A tensor whose values cannot be used, and why."""

    def __init__(self, why: str) -> None:
        """`why`: the end of a sentence that begins with its name and "is"."""
        self.why = why


class NumpyType(Named):
    """A numpy dtype: its code and, once its state is known, its byte order."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        """`code` such as f8."""
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        """Keep the byte order alone."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.order = state[1]


def _v2(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset, size, stride)


def _v3(storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset, size, stride, dtype if isinstance(dtype, str) else None)


def _first(data: Any, *_: Any) -> Any:
    return data


def _of_type(rebuild: Any, _type: Any, arguments: Any, *_: Any) -> Any:
    return rebuild(*arguments) if rebuild in (_v2, _v3, _first) and isinstance(arguments, tuple) else Named()


def _encoded(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("bytes in an unknown encoding")
    return text.encode("latin1")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    form = NUMPY_FORMATS.get(getattr(dtype, "code", None) or "")
    if form is None or not isinstance(data, bytes) or len(data) != struct.calcsize(form):
        raise Refused("a numpy scalar of no plain type")
    return struct.unpack(dtype.order + form, data)[0]


KNOWN: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "argparse.Namespace": Namespace,
    "_codecs.encode": _encoded,
    "__builtin__.set": set,
    "builtins.set": set,
    "__builtin__.complex": complex,
    "builtins.complex": complex,
    "__builtin__.bytearray": Named,
    "builtins.bytearray": Named,
    "numpy.dtype": NumpyType,
    "numpy.core.multiarray.scalar": _scalar,  # as numpy 1 wrote it
    "numpy._core.multiarray.scalar": _scalar,
    "torch._utils._rebuild_tensor": _v2,
    "torch._utils._rebuild_tensor_v2": _v2,
    "torch._utils._rebuild_tensor_v3": _v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.nn.parameter.Parameter": Named,
    "torch.Tensor": Named,
    "torch.Size": tuple,
    "torch.device": Named,
    "torch.serialization._get_layout": Named,
}


class Reader(pickle.Unpickler):
    """Unpickles without importing: known names become the plain things above, all others are noted in `wanted`."""

    def __init__(self, file: BinaryIO, wanted: dict[str, None], storages: dict[str, Storage]) -> None:
        """Read from `file`; note names in `wanted` and storages by their key in `storages`."""
        super().__init__(file, encoding="utf-8")
        self.wanted, self.storages = wanted, storages

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        whole = f"{module}.{name}"
        if whole in KNOWN:
            return KNOWN[whole]
        if module in ("torch", "torch.storage") and (name in STORAGES or name in QUANTISED):
            return _StorageType(name)
        if module == "torch" and name in ITEM_BYTES:
            return name
        if module == "torch._utils" and name in WITHOUT_VALUES:
            return lambda *_: Unusable(WITHOUT_VALUES[name])
        if module == "numpy.dtypes" or (module == "torch" and name.startswith(("q", "per_", "strided"))):
            return Named
        self.wanted[whole] = None
        return Named

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that a tensor refers to."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], _StorageType):
            raise Refused("a tensor without its bytes")
        _, kind, key, _, count, *view = pid
        if type(count) is not int or count < 0:
            raise Refused(f"a storage of {count} values")
        if view and view[0] is not None:
            raise Refused("tensors in a form from before torch 0.4; load and save the file with torch")
        dtype = STORAGES.get(kind.name, "quantised")
        storage = Storage(dtype, str(key), count, ITEM_BYTES.get(dtype) or QUANTISED[kind.name])
        return self.storages.setdefault(storage.key, storage)


class _StorageType(str):
    """The name of one of torch's storage classes."""

    @property
    def name(self) -> str:
        return str(self)


def read(path: Path) -> Any:
    """Return the content of a file that torch.save wrote, as the classes above; raises Refused."""
    wanted: dict[str, None] = {}
    try:
        content = _read_archive(path, wanted) if zipfile.is_zipfile(path) else _read_old(path, wanted)
    except Exception as error:
        if wanted:  # what it wanted says more than where it then failed
            raise WantsCode(", ".join(wanted)) from error
        raise
    if wanted:
        raise WantsCode(", ".join(wanted))
    if not isinstance(content, dict):
        raise Refused(f"a {type(content).__name__}, not a dictionary of tensors")
    return content


class WantsCode(Exception):
    """The pickle names things that could run; its text lists them."""


def _read_archive(path: Path, wanted: dict[str, None]) -> Any:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        size = file.seek(0, 2)
        entries = {entry.filename: entry for entry in archive.infolist()}
        if any(name.endswith("/constants.pkl") for name in entries):
            raise Refused("TorchScript, which is a program; save its state_dict instead")
        unpacked = sum(entry.file_size for entry in entries.values())
        if unpacked > COMPRESSION_LIMIT * size:
            raise Refused(f"an archive that unpacks to {unpacked / 1e6:.0f} MB")
        damaged = archive.testzip()
        if damaged is not None:
            raise Refused(f"a damaged archive: the checksum of {damaged} does not fit")
        pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused("an archive that torch.save did not write: it has no data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder") != b"little":
            raise Refused("numbers in the byte order of another kind of machine")
        storages: dict[str, Storage] = {}
        with archive.open(pickles[0]) as handle:
            content = Reader(handle, wanted, storages).load()  # type: ignore[arg-type]
        for key, storage in storages.items():
            entry = entries.get(f"{folder}data/{key}")
            if entry is None:
                raise Refused(f"the bytes of a tensor (data/{key}) are missing")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise Refused("compressed tensors, which torch.save does not write; load and save the file with torch")
            if entry.file_size < storage.count * storage.item_bytes:
                raise Refused(
                    f"data/{key} claims {storage.count} values, {entry.file_size // storage.item_bytes} are stored"
                )
            file.seek(entry.header_offset + 26)  # the local header, whose extra field differs from the directory's
            name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
            storage.start = entry.header_offset + 30 + name_bytes + extra_bytes
    return content


def _read_old(path: Path, wanted: dict[str, None]) -> Any:
    """Read the form from before torch 1.6: five pickles, then each storage's count and bytes."""
    storages: dict[str, Storage] = {}
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if Reader(file, wanted, storages).load() != MAGIC or Reader(file, wanted, storages).load() != PROTOCOL:
            raise Refused("a pickle that torch.save did not write")
        machine = Reader(file, wanted, storages).load()
        if not isinstance(machine, dict) or not machine.get("little_endian"):
            raise Refused("numbers in the byte order of another kind of machine")
        content = Reader(file, wanted, storages).load()
        for key in Reader(file, wanted, storages).load():
            storage, count = storages.get(str(key)), file.read(8)
            if storage is None or len(count) < 8 or struct.unpack("<q", count)[0] != storage.count:
                raise Refused("a damaged list of tensors")
            storage.start = file.tell()
            if storage.start + storage.count * storage.item_bytes > size:
                raise Refused("a file that ends in the middle of a tensor")
            file.seek(storage.start + storage.count * storage.item_bytes)
    return content


# --- to JSON --------------------------------------------------------------------------------------------------------


class Told:
    """Turns the content into plain JSON: ["d", pairs], ["n", pairs], ["l", values], ["t", ...], ["u", why], ["x"]."""

    def __init__(self) -> None:
        """No value was told yet."""
        self.values = 0

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return one value, deeper ones left out."""
        self.values += 1
        if self.values > VALUES:
            raise Refused(f"more than {VALUES} values beside the tensors' own")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Tensor):
            return _tensor(value)
        if isinstance(value, Unusable):
            return ["u", value.why]
        if depth >= DEPTH:
            return ["x"]
        if isinstance(value, Namespace):
            return ["n", self._pairs(value.state or {}, depth)]
        if isinstance(value, dict):
            return ["d", self._pairs(value, depth)]
        if isinstance(value, list | tuple):
            return ["l", [self.value(item, depth + 1) for item in value]]
        return ["x"]

    def _pairs(self, values: dict[Any, Any], depth: int) -> list[Any]:
        return [
            [name, self.value(item, depth + 1)]
            for name, item in values.items()
            if isinstance(name, str | int | float | bool)
        ]


def _tensor(tensor: Tensor) -> list[Any]:
    storage, size, stride = tensor.storage, tensor.size, tensor.stride
    if storage.dtype == "quantised":
        return ["u", "quantised"]
    count, item = math.prod(size), ITEM_BYTES.get(tensor.dtype, 0)
    whole = storage.count * storage.item_bytes
    if not item or len(size) != len(stride) or min([tensor.offset, *size, *stride]) < 0 or len(size) > 64:
        return ["u", "no tensor that can be: its sizes or strides are wrong"]
    last = tensor.offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else 0
    stored = whole // item
    if count > stored or (count and last >= stored):
        return ["u", f"too large for its bytes: it claims {count} values, {stored} are stored"]
    return ["t", tensor.dtype, storage.start, whole, tensor.offset, list(size), list(stride)]


def _limit(path: Path) -> None:
    """Set the limits of this process, where the system has them."""
    try:
        import resource
    except ImportError:  # Windows
        return
    seconds = int(CPU_SECONDS + path.stat().st_size / BYTES_A_SECOND)
    for what, most in (("RLIMIT_CORE", 0), ("RLIMIT_CPU", seconds), ("RLIMIT_AS", MEMORY_BYTES)):
        kind = getattr(resource, what)
        hard = resource.getrlimit(kind)[1]
        try:
            resource.setrlimit(kind, (most if hard < 0 else min(most, hard), hard))
        except (ValueError, OSError):  # macOS knows RLIMIT_AS and refuses it
            continue


def main(path: Path) -> None:
    """Print what is in the file."""
    try:
        _limit(path)
        answer = json.dumps({"content": Told().value(read(path))})
    except WantsCode as names:
        answer = json.dumps({"wants": str(names)})
    except Refused as reason:
        answer = json.dumps({"refused": str(reason)})
    except OSError as error:
        answer = json.dumps({"system": error.strerror or str(error)})
    except MemoryError:
        answer = json.dumps(
            {"refused": f"a damaged or hostile file: reading it needs more than {MEMORY_BYTES >> 30} GB"}
        )
    except Exception as error:  # a damaged pickle can make the parser raise anything
        text = (str(error).splitlines() or [""])[0][:200]
        answer = json.dumps({"refused": f"a damaged or hostile file: {type(error).__name__}: {text}"})
    sys.stdout.write(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
