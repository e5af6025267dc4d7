"""The config's `table`: the file, and what its own bytes do not tell."""

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator

from visionfm.config.base import Positive, Strict


class TableFile(Strict):
    """A table that needs more than its path; every key is for what cannot be told from the file alone."""

    file: str = Field(description="CSV, TSV, .xlsx, .xls, .ods or Parquet, relative to root")
    sheet: str | None = Field(None, description="the sheet of a workbook that holds several")
    header_row: Positive | list[Positive] | None = Field(
        None, description="the line of the columns' names, counted from 1; of several lines the words are joined"
    )
    encoding: str | None = Field(None, description="of a text that is not UTF-8 or UTF-16: `cp1252`, `latin-1`, ...")
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description="between cells, where it is none of comma, semicolon, tab and |"
    )
    decimal: Literal[",", "."] = Field(".", description="the decimal sign of numbers that are written as text")
    unknown: list[str] = Field([], description="words that mean unknown, beside empty ones, null, NA and NaN: `N/A`")
    short_rows: Literal["fail", "unknown"] = Field(
        "fail", description="unknown: the last cells of a row may be left out where they are empty"
    )

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                codecs.lookup(value)
            except LookupError as error:
                raise ValueError(f"no encoding is named {value!r}; usual: cp1252, latin-1, utf-16, gb18030") from error
        return value

    @field_validator("header_row")
    @classmethod
    def _lines_follow_each_other(cls, value: int | list[int] | None) -> int | list[int] | None:
        if isinstance(value, list) and value != sorted(set(value)):
            raise ValueError("expected the header's lines from top to bottom: [2, 3]")
        return value

    @property
    def header_lines(self) -> list[int]:
        """Return the numbers of the header's lines; empty: the first line is the header."""
        return [self.header_row] if isinstance(self.header_row, int) else self.header_row or []


def table_file(table: str | TableFile | None) -> TableFile | None:
    """Return a block's `table` in its long form."""
    return TableFile(file=table) if isinstance(table, str) else table
