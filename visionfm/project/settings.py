"""The settings of `report` and `paper`."""

from visionfm.config.settings import Settings


class ReportSettings(Settings):
    """Of `report`: the config without `study`, as plain JSON values."""

    config: dict[str, object]


class PaperSettings(ReportSettings):
    """Of `paper`: the whole config."""
