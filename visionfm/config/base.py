"""What all blocks of the config's schema share: strictness, kinds of names and numbers, statistics, resources."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
ModalityName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_ -]*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Scalar = bool | int | float | str


class Strict(BaseModel):
    """A block of the config: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Statistics(Strict):
    """Mean and standard deviation of an encoder's input, RGB in [0, 1]."""

    mean: list[float] = Field(min_length=3, max_length=3, description="mean of R, G, B in [0, 1]")
    std: list[float] = Field(min_length=3, max_length=3, description="standard deviation of R, G, B in [0, 1]")


class Resources(Strict):
    """What a job asks of the scheduler; unset values are the rule's own."""

    gpu: Natural | None = Field(None, description="GPUs per node; 0 computes on the CPU")
    nodes: Positive | None = Field(None, description="nodes; more than one needs SLURM")
    threads: Positive | None = Field(None, description="CPU cores")
    mem_mb: Positive | None = Field(None, description="memory in MB at the first attempt; grows with each further one")
    runtime: Positive | None = Field(None, description="time limit in minutes at the first attempt")
