"""MasKD: masked distillation with receptive tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import spatial_masked_loss
from mmkd.methods.base import Method, Tensors
from mmkd.models.mask_tokens import load_tokens
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, progress
from mmkd.view import View


@MODELS.register_module()
class MasKD(Method):
    """Imitate the teacher's maps where learned, frozen tokens look.

    ``L = Σ_l Σ_t π_t mean_c [ Σ_p m_t² (φ(F_s) - F_t)² / Σ_p m_t ]``, mean over N, with
    ``m_t = σ(w_t · F_t)``, and ``m_t = σ(w_t · F_t) σ(w_t · φ(F_s))`` from iteration
    ``custom_mask_warmup`` on. The tokens ``w`` and their weights ``π`` come from the mask stage
    (:class:`~mmkd.models.mask_learner.MaskLearner`), a training run of its own. Tokens that were
    learned without weights count the same, ``π = 1/M``.

    Source: Huang et al., "Masked Distillation with Receptive Tokens", ICLR 2023.

    Args:
        student: Tap of L maps (N, C_student, H, W).
        teacher: Tap of L maps (N, C_teacher, H, W): the tap and levels of the mask stage.
        tokens: Checkpoint of the mask stage.
        custom_mask_warmup: Iteration from which the student's own masks count as well, without
            gradient; None for never (the form for segmentation). Defaults to None.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the authors' student passes a 1×1 convolution also where the channels agree; here
    only where they differ. Their ε of 1e-5 for segmentation is used everywhere. Their detectors
    also imitate the raw box regression with an L1 loss, and their segmenters the auxiliary head;
    neither is part of this class.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        tokens: str,
        custom_mask_warmup: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tokens = tokens
        self.custom_mask_warmup = custom_mask_warmup
        warmup = self.custom_mask_warmup
        if warmup is not None and (type(warmup) is not int or warmup < 0):
            raise ConfigError(
                'custom_mask_warmup', f'is a number of iterations or None, not {warmup!r}'
            )

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Create the adapters and read the tokens."""
        assert isinstance(teacher, list)
        self.adapters = self.build_adapters(student, teacher)
        channels = [t.shape[1] for t in teacher]
        self.mask_tokens = load_tokens(self.tokens, channels, 'tokens')

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``maskd``, the sum over the levels."""
        total = student[0].new_zeros(())
        aligned = self.align(student, teacher)
        for tokens, s, t, masks in zip(
            self.mask_tokens, aligned, teacher, self.soft_masks(aligned, teacher)
        ):
            distances = spatial_masked_loss((t - s).square(), masks, eps=1e-5)  # (N, M)
            with torch.no_grad():
                weights = tokens.weights(t)
            level = distances.mean(1) if weights is None else (distances * weights).sum(1)
            total = total + level.mean()
        return dict(maskd=total)

    def masks(self, student: list[Tensor], teacher: list[Tensor], view: View) -> list[Tensor]:
        """Return the masks (N, M, H, W) of every level."""
        return self.soft_masks(self.align(student, teacher), teacher)

    def align(self, student: list[Tensor], teacher: list[Tensor]) -> list[Tensor]:
        """Return the student's maps with the teacher's channels and sizes."""
        return [
            adapter(s, tuple(t.shape[-2:]))
            for adapter, s, t in zip(self.adapters, student, teacher)
        ]

    @torch.no_grad()
    def soft_masks(self, student: list[Tensor], teacher: list[Tensor]) -> list[Tensor]:
        """Return the masks of aligned maps, the student's included once its warm-up is over."""
        masks = [tokens.masks(t) for tokens, t in zip(self.mask_tokens, teacher)]
        if self.custom_mask_warmup is None or progress()[0] < self.custom_mask_warmup:
            return masks
        own = [tokens.masks(s) for tokens, s in zip(self.mask_tokens, student)]
        return [m * o for m, o in zip(masks, own)]
