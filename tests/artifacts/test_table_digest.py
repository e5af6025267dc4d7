"""The digest of a table is that of its values as JSON, however they are nested, sliced and put together."""

import hashlib
import json
import random
from typing import Any

import pyarrow as pa
import pytest

from visionfm.artifacts import formats

POINT = pa.list_(pa.float64())
IMAGE = pa.struct([('na"me', pa.string()), ("value", pa.float64()), ("count", pa.int64()), ("at", POINT)])
TYPES = {"text": pa.string(), "number": pa.float64(), "images": pa.list_(IMAGE), "image": IMAGE, "at": POINT}


def value(of: str, rng: random.Random) -> Any:
    if rng.random() < 0.2:
        return None
    if of == "text":
        return rng.choice(("", "plain", "two\nlines", 'quo"ted\\', "\u00e9t\u00e9", "\x7f"))
    if of == "number":
        return rng.choice((1.0, 1e-7, -0.0, rng.random()))
    if of == "at":
        return [value("number", rng) for _ in range(rng.randrange(3))]
    if of == "images":
        return [value("image", rng) for _ in range(rng.randrange(4))]
    return {
        'na"me': value("text", rng),
        "value": value("number", rng),
        "count": rng.randrange(9),
        "at": value("at", rng),
    }


def as_json(table: pa.Table) -> str:
    digest = hashlib.sha256(b"{}")
    for name in table.column_names:
        column = table.column(name)
        text = json.dumps(column.to_pylist(), separators=("\n", ":"))[1:-1]
        digest.update(f"\n{name}:{column.type}\n{text}\n".encode())
    return digest.hexdigest()


@pytest.mark.parametrize("rows_at_once", [3, 65_536])
@pytest.mark.parametrize("seed", range(5))
def test_a_digest_is_that_of_the_values_as_json(seed: int, rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "ROWS_AT_ONCE", rows_at_once)
    rng = random.Random(seed)
    columns = {name: pa.array([value(name, rng) for _ in range(60)], of) for name, of in TYPES.items()}
    whole = pa.table(columns)
    for table in (whole, whole.slice(7, 31), pa.concat_tables([whole.slice(9), whole.slice(0, 9)])):
        assert formats.table_digest(table, (), {}) == as_json(table)
