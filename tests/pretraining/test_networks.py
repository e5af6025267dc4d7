"""Student and teacher: hidden patches, crops of other sizes, and scores of hidden patches alone."""

import pytest
import torch
from torch.nn import functional
from world.cheap_outputs import CheapOutputs
from world.pretraining_recipes import pair

from visionfm.encoders.positions import resize_positions


def test_without_masks_student_and_teacher_see_what_timm_sees() -> None:
    networks = pair()
    images_BCHW = torch.randn(2, 3, 64, 64)
    vit = networks.teacher.backbone.vit
    expected = vit.forward_features(images_BCHW)
    for network in networks:
        cls_BD, patches_BND = network.backbone(images_BCHW)
        torch.testing.assert_close(cls_BD, expected[:, 0])
        torch.testing.assert_close(patches_BND, expected[:, 1:])


def test_a_hidden_patch_has_no_influence_of_its_own() -> None:
    backbone = pair().student.backbone
    images_BCHW, masks_BN = torch.randn(1, 3, 64, 64), torch.zeros(1, 16, dtype=torch.bool)
    masks_BN[0, 5] = True
    changed = images_BCHW.clone()
    changed[:, :, 16:32, 16:32] += 1  # patch 5 of a 4 x 4 grid
    assert torch.equal(backbone(images_BCHW, masks_BN)[0], backbone(changed, masks_BN)[0])
    assert not torch.equal(backbone(images_BCHW)[0], backbone(changed)[0])


@pytest.mark.parametrize("head", ["shared", "separate"])
def test_scores_of_hidden_patches_alone_are_those_that_all_patches_would_have(head: str) -> None:
    student = pair(head=head).student
    images_BCHW, masks_BN = torch.randn(2, 3, 64, 64), torch.rand(2, 16) < 0.4
    hidden_M = masks_BN.flatten().nonzero().flatten()
    seen = student(images_BCHW, masks_BN, hidden_M, None)
    _, patches_BND = student.backbone(images_BCHW, masks_BN)
    all_PK = student.head(patches_BND[:, 0], patches_BND.flatten(0, 1)).patch_MK
    torch.testing.assert_close(seen.patch_MK, all_PK[hidden_M])


def test_the_mean_of_all_patches_scores_comes_from_their_mean_before_the_last_layer() -> None:
    teacher = pair().teacher
    images_BCHW, hidden_M = torch.randn(2, 3, 64, 64), torch.tensor([1, 7, 20])
    taught = teacher(images_BCHW, hidden_M, True)
    cls_BD, patches_BND = teacher.backbone(images_BCHW)
    all_PK = teacher.head(cls_BD, patches_BND.flatten(0, 1)).patch_MK
    assert taught.mean_BZ is not None
    torch.testing.assert_close(teacher.head.last_layer2(taught.mean_BZ), all_PK.view(2, 16, -1).mean(dim=1))
    torch.testing.assert_close(teacher.head.last_layer2(taught.hidden_MZ), all_PK[hidden_M])
    assert teacher(images_BCHW, hidden_M, False).mean_BZ is None


def test_local_crops_use_the_published_run_time_positions_and_larger_ones_those_of_loading() -> None:
    backbone = pair().student.backbone
    patches_1ND = backbone.vit.pos_embed[:, 1:]
    grid = patches_1ND.reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    local = functional.interpolate(grid, scale_factor=(3.1 / 4, 3.1 / 4), mode="bicubic")
    torch.testing.assert_close(backbone._positions(3)[:, 1:], local.permute(0, 2, 3, 1).flatten(1, 2))
    assert torch.equal(backbone._positions(4), backbone.vit.pos_embed)
    torch.testing.assert_close(backbone._positions(6), resize_positions(backbone.vit.pos_embed, 1, 6))


def test_activation_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for on in (False, True):
        student = pair().student
        student.backbone.activation_checkpointing = on
        torch.manual_seed(1)
        images_BCHW, masks_BN = torch.randn(2, 3, 64, 64), torch.zeros(2, 16, dtype=torch.bool)
        student(images_BCHW, masks_BN, torch.tensor([0]), None).cls_NK.square().sum().backward()
        gradients.append(student.backbone.vit.blocks[0].attn.qkv.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("mode", "kept"), [("train", 0), ("eval", 3)])
def test_in_training_a_block_keeps_no_output_of_layer_norm_or_gelu(mode: str, kept: int) -> None:
    backbone = pair().student.backbone
    getattr(backbone, mode)()
    outputs = CheapOutputs(backbone.vit.blocks[0])
    tokens = backbone(torch.randn(2, 3, 64, 64))
    assert tokens[0].requires_grad
    assert len(outputs.seen) == 3
    assert outputs.kept() == kept
