# What all rules share: how settings travel, how memory grows with each attempt, what tells that outside files changed.

from pathlib import Path

from visionfm.data.layouts import file_state, images_fingerprint, labels_fingerprint
from visionfm.versions import VERSIONS


def text(settings):
    """A stage's settings as the JSON of its command line."""
    return settings.model_dump_json(exclude_defaults=True)


def outside(state):
    """The state of files that Snakemake does not track; asked only where jobs are planned, not inside them."""
    return state() if workflow.is_main_process else "planned"


def growing(first):
    """Megabytes, or minutes, that grow with each attempt."""
    return lambda wildcards, attempt: first * attempt


def given(block, name, default):
    """A resource from the config's `resources`, or the rule's own, growing with each attempt unless it counts devices."""
    value = getattr(block, name)
    return default if value is None else value


def launcher(gpus):
    """How a stage starts: by torchrun where it has several GPUs."""
    return "visionfm" if gpus < 2 else f"torchrun --standalone --nproc-per-node {gpus} -m visionfm"
