"""Which step belongs to which family of recipes: a family is its model in recipe.py, its step, and a line here."""

from visionfm.pretraining.distillation import Distillation
from visionfm.pretraining.instances import Instances
from visionfm.pretraining.recipe import (
    DistillationRecipe,
    InstancesRecipe,
    Recipe,
    TokenReconstructionRecipe,
)
from visionfm.pretraining.step import Step
from visionfm.pretraining.token_reconstruction import TokenReconstruction

STEPS: dict[type[Recipe], type[Step]] = {
    DistillationRecipe: Distillation,
    TokenReconstructionRecipe: TokenReconstruction,
    InstancesRecipe: Instances,
}
