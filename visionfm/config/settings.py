"""What each stage depends on: its slice of the config, nothing else.

A stage's settings travel as JSON on its command line, stand in its rule's `params`, and are part of its key; so a
change of the config reruns just the stages whose settings it changes. Folders are no settings: a moved dataset is the
same dataset. Each stage's settings stand beside it; here is their base.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from visionfm.errors import UsageError


class Settings(BaseModel):
    """Base of all stages' settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Return the settings that a command line carries; UsageError where they do not fit the stage."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise UsageError(
                "--settings does not fit this stage",
                expected=", ".join(cls.model_fields),
                found="; ".join(f"{'.'.join(map(str, e['loc'])) or 'text'}: {e['msg']}" for e in error.errors()),
                do="give JSON, or @ and a file that holds it; the rules in workflow/ show how",
            ) from error
