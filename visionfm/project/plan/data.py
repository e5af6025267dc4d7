"""The plan of datasets: the settings of `index`, `label` and `audit`."""

from visionfm.data.settings import AuditSettings, AuditTarget, IndexSettings, LabelSettings
from visionfm.images.settings import Reading
from visionfm.project.names import Names
from visionfm.project.plan.maps import mask_values
from visionfm.tasks.block import TaskBlock


class DataPlan:
    """Settings of the stages that read datasets."""

    def __init__(self, names: Names) -> None:
        """`names` are those of the whole plan."""
        self.names = names
        self.config = names.config

    def index_settings(self, dataset: str, shard: str) -> IndexSettings:
        """Return the settings of `index` for one shard (`.0`, or empty)."""
        block = self.config.datasets[dataset]
        return IndexSettings(
            modality=self.names.modality(dataset),
            layout=block.layout,
            images=block.images,
            **dict(Reading.of(block)),
            frames=block.frames,
            shard=int(shard[1:] or 0),
            shards=block.shards,
        )

    def label_settings(self, dataset: str) -> LabelSettings:
        """Return the settings of `label`."""
        block = self.config.datasets[dataset]
        same = (
            "layout",
            "images",
            "table",
            "labels",
            "columns",
            "path_pattern",
            "cohort",
            "split",
            "missing",
            "ids",
            "frames",
        )
        return LabelSettings(
            dataset=dataset,
            **{name: getattr(block, name) for name in same},
            mask_values=mask_values(self.names, dataset),
        )

    def audit_settings(self, task: str) -> AuditSettings:
        """Return the settings of `audit`."""
        block = self.config.tasks[task]
        names = self.names.task_datasets(task)
        reasons = {name: self.config.datasets[name].allow_leakage for name in names}
        return AuditSettings(
            task=task,
            datasets=block.datasets,
            external=block.external,
            folded=self.names.folded_datasets(task),
            allow_leakage={name: reason for name, reason in reasons.items() if reason is not None},
            pretraining=self.names.pretraining_by_encoder(task),
            bad_images={name: self.config.datasets[name].bad_images for name in names},
            targets=_audited(block),
            public={name: public for name in names if (public := self.config.datasets[name].public) is not None},
            encoders=self.names.public_encoders(task),
            trained_here=self.names.public_pretraining(task),
            exact=[name for name in names if self.config.datasets[name].columns.normalise == "exact"],
        )


def _audited(task: TaskBlock) -> list[AuditTarget]:
    """Return what identical images must agree in: a class is contradicted by another class alone."""
    found = {
        (column, name): AuditTarget(
            column=column,
            classes=target.values if target.type in ("binary", "multiclass") else [],
            unknown=target.unknown,
        )
        for name, target in task.audited_targets().items()
        for column in target.columns()
    }
    return [found[key] for key in sorted(found)]
