"""The published step of pretraining, written plainly: what the benchmark measures this project's step against.

Every patch token goes through the head, of student and teacher; attention writes out its map; float32 (on a GPU fp16
autocast, as published). Written from a description of the published behaviour; `bench.pretrain_step` checks that its
loss equals ours.
Shapes: G global crops, B images, N patches, T = 1 + N, D width, K prototypes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.reference import _Block, _PatchEmbed

STUDENT_TEMP, CLIP = 0.1, 3.0


class _Head(nn.Module):
    def __init__(self, dim: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        layers = [
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        ]
        self.mlp = nn.Sequential(*layers)
        self.last_layer = nn.utils.parametrizations.weight_norm(nn.Linear(bottleneck, prototypes, bias=False))
        self.last_layer.parametrizations.weight.original0.requires_grad_(False)

    def forward(self, tokens_BTD: Tensor) -> tuple[Tensor, Tensor]:
        scores_BTK = self.last_layer(functional.normalize(self.mlp(tokens_BTD), dim=-1))
        return scores_BTK[:, 0], scores_BTK[:, 1:]


class Network(nn.Module):
    """ViT and head; the student hides patches."""

    def __init__(self, weights: Mapping[str, Tensor], *, hides: bool) -> None:
        """`weights` are a student's state dict of ours."""
        super().__init__()
        vit = {n.removeprefix("backbone.vit."): w for n, w in weights.items() if n.startswith("backbone.vit.")}
        width, patch = vit["patch_embed.proj.weight"].shape[0], vit["patch_embed.proj.weight"].shape[2]
        depth = 1 + max(int(name.split(".")[1]) for name in vit if name.startswith("blocks."))
        self.cls_token = nn.Parameter(vit["cls_token"].clone())
        self.pos_embed = nn.Parameter(vit["pos_embed"].clone())
        self.patch_embed = _PatchEmbed(width, patch)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.load_state_dict({name: vit[name] for name in self.state_dict()})
        self.masked_embed = nn.Parameter(weights["backbone.masked_embed"].clone()) if hides else None
        hidden, prototypes = weights["head.mlp.0.bias"].shape[0], weights["head.last_layer.weight_v"].shape[0]
        self.head = _Head(width, hidden, weights["head.mlp.4.bias"].shape[0], prototypes)
        self.head.mlp.load_state_dict(
            {n.removeprefix("head.mlp."): w for n, w in weights.items() if n.startswith("head.mlp.")}
        )
        normed = self.head.last_layer.parametrizations.weight
        normed.original0.data.copy_(weights["head.last_layer.weight_g"])
        normed.original1.data.copy_(weights["head.last_layer.weight_v"])

    def forward(self, images_BCHW: Tensor, masks_BN: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return scores of CLS (B, K) and of all patches (B, N, K)."""
        x_BND = self.patch_embed(images_BCHW)
        if self.masked_embed is not None and masks_BN is not None:
            x_BND = torch.where(masks_BN[..., None], self.masked_embed.to(x_BND.dtype), x_BND)
        x_BTD = torch.cat([self.cls_token.expand(len(x_BND), -1, -1), x_BND], dim=1) + self.pos_embed
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.head(self.norm(x_BTD))


class Reference:
    """Student, teacher, centres and optimizer of the published step."""

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device, half: bool) -> None:
        """`half` computes in fp16 with a scaled loss, as published on GPUs."""
        self.student, self.teacher = Network(weights, hides=True).to(device), Network(weights, hides=False).to(device)
        prototypes = weights["head.last_layer.weight_v"].shape[0]
        self.centres = [torch.zeros(prototypes, device=device) for _ in range(2)]
        moved = [(n, p) for n, p in self.student.named_parameters() if p.requires_grad]
        decayed = [p for n, p in moved if p.ndim > 1 and not n.endswith(".bias")]
        spared = [p for n, p in moved if p.ndim <= 1 or n.endswith(".bias")]
        self.optimizer = torch.optim.AdamW([{"params": decayed}, {"params": spared, "weight_decay": 0.0}])
        self.device, self.half = device, half
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)

    def step(
        self,
        crops_GBCHW: Tensor,
        masks_GBN: Tensor,
        lr: float,
        decay: float,
        momentum: float,
        temps: tuple[float, float],
    ) -> float:
        """Do one optimizer step; return the loss."""
        images_BCHW, masks_BN = crops_GBCHW.flatten(0, 1), masks_GBN.flatten(0, 1)
        with torch.autocast(self.device.type, torch.float16, enabled=self.half):
            with torch.no_grad():
                cls_t, patch_t = self.teacher(images_BCHW, None)
            cls_s, patch_s = self.student(images_BCHW, masks_BN)
            loss = self._loss(cls_s.float(), patch_s.float(), cls_t.float(), patch_t.float(), masks_GBN, temps)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        for parameter in self.student.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_((CLIP / (parameter.grad.norm() + 1e-6)).clamp(max=1))
        for group, wanted in zip(self.optimizer.param_groups, (decay, 0.0), strict=True):
            group["lr"], group["weight_decay"] = lr, wanted
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            mine = dict(self.student.named_parameters())
            for name, parameter in self.teacher.named_parameters():
                parameter.mul_(momentum).add_(mine[name], alpha=1 - momentum)
        return float(loss.detach())

    def _loss(
        self,
        cls_s: Tensor,
        patch_s: Tensor,
        cls_t: Tensor,
        patch_t: Tensor,
        masks_GBN: Tensor,
        temps: tuple[float, float],
    ) -> Tensor:
        views = len(masks_GBN)
        student_cls, student_patch = (cls_s / STUDENT_TEMP).chunk(views), (patch_s / STUDENT_TEMP).chunk(views)
        teacher_cls = ((cls_t - self.centres[0]) / temps[0]).softmax(dim=-1).chunk(views)
        teacher_patch = ((patch_t - self.centres[1]) / temps[1]).softmax(dim=-1).chunk(views)
        between, within, pairs = cls_s.new_zeros(()), cls_s.new_zeros(()), 0
        for q in range(views):
            for v in range(views):
                if q == v:
                    ce_BN = -(teacher_patch[q] * student_patch[v].log_softmax(dim=-1)).sum(dim=-1)
                    mask_BN = masks_GBN[v].float()
                    within = within + ((ce_BN * mask_BN).sum(dim=-1) / mask_BN.sum(dim=-1).clamp(min=1)).mean()
                else:
                    between = between - (teacher_cls[q] * student_cls[v].log_softmax(dim=-1)).sum(dim=-1).mean()
                    pairs += 1
        with torch.no_grad():
            for centre, scores in zip(self.centres, (cls_t.mean(dim=0), patch_t.mean(dim=(0, 1))), strict=True):
                centre.mul_(0.9).add_(scores, alpha=0.1)
        return between / pairs + within / views
