"""The config: schema, loading with all errors at once, the plan (names of all artefacts), and each stage's settings."""

from visionfm.config.loading import load_config, parse_config
from visionfm.config.plan import Plan
from visionfm.config.schema import Config

__all__ = ["Config", "Plan", "load_config", "parse_config"]
