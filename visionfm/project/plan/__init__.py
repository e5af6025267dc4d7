"""The plan: what each stage depends on, as a pure function of the config, beside the names of all artefacts.

A plan is the names of its artefacts; its parts give each stage its settings, a slice of the config. A dry-run reads
nothing else, and neither torch nor pandas is imported.
"""

from visionfm.project.config import Config
from visionfm.project.names import Names
from visionfm.project.plan.data import DataPlan
from visionfm.project.plan.encoding import EncodingPlan
from visionfm.project.plan.pretraining import PretrainingPlan
from visionfm.project.plan.tasks import TaskPlan
from visionfm.project.settings import PaperSettings, ReportSettings
from visionfm.project.study import ON_THE_PAGE

__all__ = ["Plan"]


class Plan(Names):
    """Names of all artefacts; `data`, `pretraining`, `encoding` and `tasks` have the settings of the stages."""

    def __init__(self, config: Config) -> None:
        """`config` was checked by `load_config`."""
        super().__init__(config)
        self.data = DataPlan(self)
        self.pretraining = PretrainingPlan(self)
        self.encoding = EncodingPlan(self)
        self.tasks = TaskPlan(self, self.encoding)

    def report_settings(self) -> ReportSettings:
        """Return the settings of `report`: the whole config, but for what the paper alone says."""
        study = self.config.study
        named = {} if study is None else study.model_dump(include=set(ON_THE_PAGE), exclude_unset=True, mode="json")
        return ReportSettings(config={**self.config.dump(without={"study"}), **({"study": named} if named else {})})

    def paper_settings(self) -> PaperSettings:
        """Return the settings of `paper`: the whole config."""
        return PaperSettings(config=self.config.dump())
