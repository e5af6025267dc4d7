"""The first candidate of recipe `modern`: the head alone, trained on the frozen encoder's features.

It is trained as recipe `sound` trains a frozen encoder's head, on the same four views, and stands as epoch 0 among the
epochs from which validation chooses: fine-tuning cannot end below it there. And a head that starts from noise distorts
good features before it has learned to read them (linear probing, then fine-tuning: Kumar et al. 2022).
Shapes: N samples, V views, F features.
"""

import copy
import logging

import torch

from visionfm.runtime.interruption import StopFlag
from visionfm.tasks.finetuning.training import Finetuning
from visionfm.tasks.vectors.objective import Objective
from visionfm.tasks.vectors.recipe import HeadRecipe, Recipe, sound
from visionfm.tasks.vectors.training import Batches, Training

MIRRORED: tuple[tuple[int, ...], ...] = (
    (),
    (-1,),
    (-2,),
    (-2, -1),
)  # the dimensions of an image that each of `VIEWS` mirrors
log = logging.getLogger("visionfm")


def probe_recipe(run_recipe: HeadRecipe) -> Recipe:
    """Return how the head alone is trained."""
    # `standardise` is of a regression's targets: outputs keep their scale.
    same = run_recipe.model_dump(include={"head", "features", "standardise", "class_weighting"})
    return sound().model_copy(update=same)


def start_from_probe(run: Finetuning, objective: Objective, stop: StopFlag) -> None:
    """Train the head alone and take it as the run's first candidate; every process ends with the same."""
    train_NVF = run.features(run.train, range(len(run.train.images)), MIRRORED)
    validation_NVF = run.features(run.validation, range(len(run.validation.images)))
    mean_F, std_F = run.calibrate(train_NVF.flatten(0, 1))
    train, validation = (
        Batches([((x_NVF - mean_F) / std_F).float()], torch.arange(len(x_NVF))[:, None], data.truth_NT)
        for x_NVF, data in ((train_NVF, run.train), (validation_NVF, run.validation))
    )
    decoder = copy.deepcopy(run.network.decoder).to("cpu")
    probe = Training(decoder, train, validation, objective, probe_recipe(run.recipe), run.seed)
    probe.run(stop)
    run.network.decoder.load_state_dict(probe.best)
    run.begin(probe.history[probe.best_epoch - 1])
    if not run.process.rank:
        loss = run.history[0]["validation_loss"]
        log.info("finetune: the head alone, on frozen features: validation loss %.4g", loss)
