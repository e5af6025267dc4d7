"""What `precision: auto` of an encoder means here: chosen once where a run is planned, then kept with its results.

The plan chooses, not the stage: all caches of an encoder, and all that reads them, then compute alike, and the choice
is in each row's identity as if the config had named it. It stays in `results/precision.yaml`, so that the same results
planned on another machine compute nothing anew. Invariant: jobs never see `auto`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from visionfm.artifacts import publish
from visionfm.config.yaml_files import read_yaml
from visionfm.errors import ConfigError, UsageError
from visionfm.project.config import Config, Encoder
from visionfm.runtime import devices, precision

CHOSEN = Path("results/precision.yaml")
HEAD = "# What `precision: auto` became, when these results were begun. An encoder without a line here chooses anew.\n"


def settled(config: Config) -> Config:
    """Return the config with `fp32` or `bf16` in place of each `auto`: as it was chosen before, else by this machine.

    Raises ConfigError where what was chosen before cannot be read.
    """
    names = asking(config, is_module=False)
    if not names:
        return config
    before = _chosen_before()
    encoders = dict(config.encoders)
    for name in names:
        chosen = before.get(name) or _fast_here(encoders[name])
        encoders[name] = encoders[name].model_copy(update={"precision": chosen})
    return config.model_copy(update={"encoders": encoders})


def asking(written: Config, *, is_module: bool) -> list[str]:
    """Return the encoders whose config says `auto`; UsageError in a module, where no start of a run is seen."""
    names = [name for name, encoder in written.encoders.items() if encoder.precision == "auto"]
    if names and is_module:
        raise _must_be_named(names, "nothing keeps the choice of a module's plan", "write the one that you want")
    return names


def begin(names: Sequence[str], planned: Config, *, computes_here: bool) -> list[str]:
    """Keep what was chosen for each `auto` (`names`) as a run of `planned` starts; return sentences that say so.

    Raises UsageError where jobs compute on other machines, whose processors the plan cannot know.
    """
    if names and not computes_here:
        raise _must_be_named(
            names,
            "the machine that plans chooses, and here others compute",
            "write bf16 where all nodes of the partition have it (`visionfm doctor` on one says so), else fp32",
        )
    before = _chosen_before() if names else {}
    chosen = {name: planned.encoders[name].arithmetic() for name in names}
    if new := {name: said for name, said in chosen.items() if name not in before}:
        lines = [f'"{name}": {said}\n' for name, said in sorted({**before, **new}.items())]
        publish(CHOSEN, "".join([HEAD, *lines]).encode())
    by = {name: CHOSEN if name in before else "as this machine has it" for name in names}
    return [f"encoder {name}: `precision: auto` is {chosen[name]} ({by[name]})" for name in names]


def _must_be_named(names: Sequence[str], why: str, do: str) -> UsageError:
    return UsageError(
        f"`precision: auto` cannot be used here: {why}",
        expected="bf16 or fp32",
        found="auto",
        where=", ".join(f"encoders.{name}.precision" for name in names),
        do=do,
    )


def _fast_here(encoder: Encoder) -> Literal["fp32", "bf16"]:
    on_gpus = encoder.device != "cpu" and bool(devices.present())
    return "bf16" if (precision.fast_on_gpus() if on_gpus else precision.fast_on_cpu()) else "fp32"


def _chosen_before() -> dict[str, Literal["fp32", "bf16"]]:
    if not CHOSEN.is_file():
        return {}
    said, _, problems = read_yaml(CHOSEN)
    if problems or set(map(str, said.values())) - {"fp32", "bf16"}:
        raise ConfigError(
            "what `precision: auto` became cannot be read",
            expected="a line `ENCODER: fp32` or `ENCODER: bf16` for each",
            found="; ".join(map(str, problems)) or ", ".join(map(str, said.values())),
            where=CHOSEN,
            do="correct it; deleted, it is chosen anew, and features may be computed again",
        )
    return said
