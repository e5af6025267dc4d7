"""The settings of `report` and `paper`."""

from visionfm.config.settings import Settings


class ReportSettings(Settings):
    """Of `report` and `paper`: the whole config, as plain JSON values."""

    config: dict[str, object]
