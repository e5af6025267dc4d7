"""The head's start in recipe `modern`: trained on the frozen encoder's features first, then both together.

A head that starts from noise distorts good features before it has learned to read them (linear probing, then
fine-tuning: Kumar et al. 2022). Shapes: N samples, F features.
"""

import copy
import logging
from dataclasses import replace

import torch

from visionfm.decoders.finetuning_loop import Finetuning
from visionfm.decoders.recipes import SOUND
from visionfm.decoders.training import Batches, Training
from visionfm.interruption import StopFlag

log = logging.getLogger("visionfm")


def start_from_probe(run: Finetuning, stop: StopFlag) -> None:
    """Train the head alone on standardised features, as recipe `sound` does; every process ends with the same."""
    recipe = run.recipe
    train_NF = run.features(run.train, range(len(run.train.images)))
    validation_NF = run.features(run.validation, range(len(run.validation.images)))
    mean_F, std_F = run.calibrate(train_NF)
    train, validation = (
        Batches([((x_NF - mean_F) / std_F).float()[:, None]], torch.arange(len(x_NF))[:, None], data.truth_NT)
        for x_NF, data in ((train_NF, run.train), (validation_NF, run.validation))
    )
    alone = replace(SOUND, head=recipe.head, features=recipe.features, class_weighting=recipe.class_weighting)
    decoder = copy.deepcopy(run.network.decoder).to("cpu")
    probe = Training(decoder, train, validation, run.kind, alone, run.seed)
    probe.run(stop)
    run.network.decoder.load_state_dict(probe.best)
    loss = probe.history[probe.best_epoch - 1]["validation_loss"]
    if not run.process.rank:
        log.info("finetune: the head alone, on frozen features: validation loss %.4g", loss)
