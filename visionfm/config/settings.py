"""What each stage depends on: its slice of the config, nothing else.

A stage's settings travel as JSON on its command line, stand in its rule's `params`, and are part of its key; so a
change of the config reruns just the stages whose settings it changes. Folders are no settings: a moved dataset is the
same dataset. Each stage's settings stand beside it; here is their base.
"""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from visionfm.errors import UsageError


class Settings(BaseModel):
    """Base of all stages' settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    left_out: ClassVar[tuple[str, ...]] = ()  # where they have their defaults: artefacts made before keep their keys

    @model_serializer(mode="wrap")
    def _without_what_is_left_out(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(self, plain(self), self.left_out)

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


def without_defaults(block: BaseModel, values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return a block's serialised values without those of these fields that have their defaults."""
    fields = type(block).model_fields
    same = {name for name in names if getattr(block, name) == fields[name].get_default(call_default_factory=True)}
    return {name: value for name, value in values.items() if name not in same}
