"""The plan of encoders at work: the settings of `import`, `extract` and `dense`."""

from visionfm.config.base import Statistics
from visionfm.encoders.settings import ImportSettings
from visionfm.features.settings import DenseSettings, ExtractSettings
from visionfm.images.settings import DatasetReading
from visionfm.project.names import Names
from visionfm.project.plan.maps import reading
from visionfm.project.plan.pretraining import added_statistics
from visionfm.tasks.maps.block import ALL_VIEWS, DenseCache


class EncodingPlan:
    """Settings of the stages that make encoders from weights and features from images."""

    def __init__(self, names: Names) -> None:
        """`names` are those of the whole plan."""
        self.names = names
        self.config = names.config

    def import_settings(self, encoder: str) -> ImportSettings:
        """Return the settings of `import`."""
        block = self.config.encoders[encoder]
        modality = self.names.canonical(block.modality)
        added = self.config.modalities.get(modality)
        return ImportSettings(
            modality=modality,
            weights=block.weights,
            timm=block.timm,
            key=block.key,
            arch=block.arch,
            image_size=block.image_size,
            interpolation=block.interpolation,
            statistics=block.statistics,
            modality_statistics=_known(added_statistics(added.statistics)) if added else None,
            seed=block.seed,
        )

    def extract_settings(self, encoder: str, dataset: str) -> ExtractSettings:
        """Return the settings of `extract`: four views where some task trains on the dataset, but for volumes."""
        block, images = self.config.encoders[encoder], self.config.datasets[dataset]
        tasks = [block for name, block in self.config.tasks.items() if not self.names.is_dense(name)]
        trains = images.trained_views() == "flips"
        views = any(
            (dataset in t.datasets and (trains or t.tta == "flips")) or (dataset in t.external and t.tta == "flips")
            for t in tasks
        )
        return ExtractSettings(
            size=block.image_size,
            views=list(ALL_VIEWS) if views else ["identity"],
            **dict(block.resizing()),
            precision=block.arithmetic(),
            dtype=block.cache,
            modality=self.names.seen_as(encoder, dataset),
            **dict(DatasetReading.of(images)),
            device=block.device,
            gpu=block.resources.gpu or 0,
            batch_size=block.batch_size,
            workers=block.workers,
            max_rows=images.max_rows,
        )

    def dense_settings(self, encoder: str, dataset: str, size: int) -> DenseSettings:
        """Return the settings of `dense`: four views where some task trains on the dataset with flips alone."""
        block = self.config.encoders[encoder]
        readers = [
            name
            for name, model in self.names.task_models()
            if (encoder, dataset, size) in self.names.dense_caches(name, model)
        ]
        tasks = [self.names.map_task(name) for name in dict.fromkeys(readers) if self.names.is_dense(name)]
        views = {view for task in tasks for view in task.views(dataset in task.datasets)}
        vectors = len(tasks) < len(set(readers))  # some head on vectors reads them too, always from the cache
        views |= set(ALL_VIEWS[:1]) if vectors else set()
        return DenseSettings(
            **reading(self.names, encoder, dataset).model_dump(),
            size=size,
            views=[view for view in ALL_VIEWS if view in views],
            bad_images=self.config.datasets[dataset].bad_images,
            max_gb=max([*(task.dense_cache.max_gb for task in tasks), *([DenseCache().max_gb] if vectors else [])]),
            never=not vectors and all(task.overlap() is not None for task in tasks),
            device=block.device,
            gpu=block.resources.gpu or 0,
            workers=block.workers,
            max_rows=self.config.datasets[dataset].max_rows,
        )


def _known(statistics: object) -> Statistics | None:
    """Return statistics that the config states; measured ones reach `import` by their file."""
    return statistics if isinstance(statistics, Statistics) else None
