"""ACAM-KD: masks of cells and channels that teacher and student choose together."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from mmkd.functional import (
    activation_masks,
    area_balance,
    attend_in_pieces,
    channel_masked_loss,
    dice_diversity,
    pool_cells,
    spatial_masked_loss,
)
from mmkd.functional.masks import REDUCTIONS
from mmkd.methods.base import Method, Tensors
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View

FUSIONS = ('cooperative', 'reversed', 'teacher', 'fixed')
MASKS_FROM = ('both', 'spatial', 'channel')
SEEK = ('agreement', 'difference')
# Time grows with the square of the cells, so pool='auto' keeps attention below that of this many.
MAX_CELLS = 20_000
MASK_STD = 0.01  # of the selection units: all masks start near ½


class MaskUnits(nn.Module):
    """The mask makers of one level: cross attention (STCA-FF) and selection units (ASCM).

    Source: ACAM-KD, sections on STCA-FF and ASCM.

    Args:
        channels: Channels C of the (aligned) maps.
        num_masks: Number M of masks of each kind.
        masks_from: Which kinds: ``'both'``, ``'spatial'`` or ``'channel'``.
    """

    def __init__(self, channels: int, num_masks: int, masks_from: str) -> None:
        super().__init__()
        narrow = max(channels // 2, 1)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.key = nn.Conv2d(channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        spatial, channel = (masks_from in ('both', kind) for kind in ('spatial', 'channel'))
        self.spatial = (
            nn.Parameter(torch.randn(num_masks, channels) * MASK_STD) if spatial else None
        )
        self.channel = nn.Parameter(torch.randn(num_masks, 1) * MASK_STD) if channel else None

    def forward(self, query: Tensor, key: Tensor, pool: int) -> tuple[Tensor | None, Tensor | None]:
        """Return the masks of a batch.

        Args:
            query: Map (N, C, H, W) that asks.
            key: Map (N, C, H, W) that answers.
            pool: Side of the squares over which ``key`` is averaged first; 1 is exact.

        Returns:
            Spatial masks (N, M, H, W) and channel masks (N, M, C); None for a kind that is off.
        """
        n, channels, height, width = query.shape
        key = pool_cells(key, pool)
        fused = attend_in_pieces(
            self.query(query).flatten(2), self.key(key).flatten(2), self.value(key).flatten(2)
        )  # (N, J, H·W, W'), never the matrix of all pairs
        spatial = channel = None
        if self.spatial is not None:
            units = nn.functional.pad(self.spatial, (0, fused.shape[1] * fused.shape[3] - channels))
            units = units.t().unflatten(0, (fused.shape[1], fused.shape[3]))  # (J, W', M)
            # Piece by piece, because the fused map as a whole would be a second copy to keep.
            spatial = (fused @ units).sum(1).transpose(1, 2).sigmoid()  # (N, M, H·W)
            spatial = spatial.reshape(n, -1, height, width)
        if self.channel is not None:
            pooled = fused.mean(2).flatten(1)[:, :channels]  # (N, C)
            channel = (self.channel * pooled[:, None]).sigmoid()  # (N, M, C)
        return spatial, channel


@MODELS.register_module()
class ACAM(Method):
    """Compare maps under masks that cross attention between teacher and student chooses.

    With F_s aligned by a 1×1 convolution where the channels differ and D = F_t - F_s, at each
    level:

    ``A = softmax((W_q F_t)ᵀ (W_k F_s) / √C_q)``, ``F = A (W_v F_s)ᵀ``, C_q = C / 2;
    ``M^s = σ(m^s F)`` (M masks of cells), ``M^c = σ(m^c GAP(F))`` (M masks of channels);
    ``L^s = 1/M Σ_m ‖M^s_m ⊙ D‖² / (C Σ_p M^s_mp)``,
    ``L^c = 1/M Σ_m ‖M^c_m ⊙ D‖² / (HW Σ_c M^c_mc)``;
    ``L = α (L^s + L^c) + λ (dice(M^s) + dice(M^c))`` (+ ours: ``area · (balance(M^s) +
    balance(M^c))``), mean over N, sum over levels.

    W_q, W_k, W_v, m^s and m^c are trained with the student, one set for each level.

    Source: Lan & Tian, "ACAM-KD: Adaptive and Cooperative Attention Masking for Knowledge
    Distillation", ICCV 2025.

    Args:
        student: Tap of L maps (N, C_student, H, W).
        teacher: Tap of L maps (N, C_teacher, H, W).
        num_masks: Masks M of each kind: 6 for detectors, the number of classes for segmenters.
            Defaults to 6.
        alpha: Weight α of the masked differences. Defaults to 1.0.
        diversity: Weight λ of the Dice terms; 0 leaves them out. Defaults to 1.0.
        area: Weight of the term that keeps the masks' areas near ½; 0 leaves it out. Defaults to
            2.0.
        masks_from: ``'both'``, ``'spatial'`` or ``'channel'``. Defaults to ``'both'``.
        fusion: ``'cooperative'``: the teacher asks, the student answers. ``'reversed'``: the other
            way round. ``'teacher'``: queries, keys and values are all the teacher's. ``'fixed'``:
            one mask of each kind, drawn from the teacher's activations and not trained. Defaults
            to ``'cooperative'``.
        reduction: ``'mask_sum'`` divides by a mask's sum as above, ``'weighted_mean'`` by that of
            its squares, ``'literal'`` multiplies by its sum. Defaults to ``'weighted_mean'``.
        seek: ``'agreement'``: masks follow the gradient of the losses, as published, to where
            student and teacher differ least. ``'difference'``: they follow it upwards, to where
            they differ most, and the student is detached in them. Defaults to ``'agreement'``.
        detach_student_in_mask: Keep the student from lowering the loss by moving the masks.
            Defaults to False.
        pool: Side of the squares of cells over which keys and values are averaged, an
            approximation; 1 is exact. ``'auto'`` is exact up to 20 000 cells and beyond that pools
            just enough to need no more time, with a warning. Defaults to ``'auto'``.
        checkpoint: Compute the attention a second time in the backward pass instead of keeping
            what it needs. Defaults to False.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: there is no official code. As printed, the losses multiply by the mask's sum; with
    that they grow with C · H · W, which α = 1 does not fit, while MasKD, their ancestor, divides.
    Either way a smaller mask is a smaller loss, and masks that are trained by it shrink to nothing,
    on a small set within a hundred steps; so the default is the ``'weighted_mean'``, which is ours
    and does not change when a mask is multiplied. Single masks would still become empty or full,
    the cheapest way to be diverse, so their areas are kept from it by a term of their own
    (:func:`~mmkd.functional.area_balance`), ours as well, as is ``seek='difference'``. Dice is the
    mean over pairs (MasKD). ``'fixed'`` is ours: what the paper fixed is not public. C_q is rounded
    down.
    """

    #: These train the masks; the student need not feel them.
    auxiliary = ('diversity', 'area')

    def __init__(
        self,
        student: Any,
        teacher: Any,
        num_masks: int = 6,
        alpha: float = 1.0,
        diversity: float = 1.0,
        area: float = 2.0,
        masks_from: str = 'both',
        fusion: str = 'cooperative',
        reduction: str = 'weighted_mean',
        seek: str = 'agreement',
        detach_student_in_mask: bool = False,
        pool: int | str = 'auto',
        checkpoint: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.num_masks = num_masks
        self.alpha = alpha
        self.diversity = diversity
        self.area = area
        self.masks_from = masks_from
        self.fusion = fusion
        self.reduction = reduction
        self.seek = seek
        self.detach_student_in_mask = detach_student_in_mask or seek == 'difference'
        self.pool = pool
        self.checkpoint = checkpoint
        self._announced: set[int] = set()
        choices = dict(masks_from=MASKS_FROM, fusion=FUSIONS, reduction=REDUCTIONS, seek=SEEK)
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(name, f'use one of {", ".join(map(repr, known))}')
        if type(self.num_masks) is not int or self.num_masks < 1:
            raise ConfigError('num_masks', f'is at least 1, not {self.num_masks!r}')
        if self.pool != 'auto' and (type(self.pool) is not int or self.pool < 1):
            raise ConfigError('pool', f"is 'auto', 1 or more, not {self.pool!r}")
        if not self.alpha > 0:
            raise ConfigError('alpha', f'is positive, not {self.alpha}')
        for name in ('diversity', 'area'):
            if not getattr(self, name) >= 0:
                raise ConfigError(name, f'is not negative, unlike {getattr(self, name)}')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Create the adapters and the mask makers of every level."""
        self.adapters = self.build_adapters(student, teacher)
        assert isinstance(teacher, list)
        self.units = nn.ModuleList(
            MaskUnits(t.shape[1], self.num_masks, self.masks_from)
            for t in teacher
            if self.fusion != 'fixed'
        )

    def masks_of(
        self, level: int, student: Tensor, teacher: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the masks of one level.

        Args:
            level: Which of the tapped maps.
            student: Its aligned map (N, C, H, W).
            teacher: The teacher's map (N, C, H, W).

        Returns:
            Spatial masks (N, M, H, W) and channel masks (N, M, C); None for a kind that is off.
        """
        if self.fusion == 'fixed':
            spatial, channel = activation_masks(teacher)
            return (
                spatial if self.masks_from != 'channel' else None,
                channel if self.masks_from != 'spatial' else None,
            )
        if self.detach_student_in_mask:
            student = student.detach()
        query = student if self.fusion == 'reversed' else teacher
        key = student if self.fusion == 'cooperative' else teacher
        factor = self.pool_factor(level, tuple(teacher.shape[-2:]))
        if self.checkpoint and torch.is_grad_enabled():
            return recompute(self.units[level], query, key, factor, use_reentrant=False)
        return self.units[level](query, key, factor)

    def pool_factor(self, level: int, size: tuple[int, int]) -> int:
        """Return by how much the keys of a map are pooled; say so where nobody asked for it."""
        if self.pool != 'auto':
            return int(self.pool)
        cells = size[0] * size[1]
        # Time is cells · cells / factor², against MAX_CELLS² at most.
        factor = math.ceil(cells / MAX_CELLS)
        if factor > 1 and level not in self._announced:
            self._announced.add(level)
            print_log(
                f'{self.key}.pool: level {level} has {size[0]}×{size[1]} = {cells} cells, more '
                f"than {MAX_CELLS}, so 'auto' averages its keys and values over {factor}×{factor} "
                'cells, an approximation; set pool=1 for exact attention',
                logger='current',
                level=logging.WARNING,
            )
        return factor

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``spatial``, ``channel``, ``diversity`` and ``area``, the sums over the levels."""
        terms: dict[str, list[Tensor]] = {}
        areas: dict[str, list[Tensor]] = {}
        for level, (adapter, s, t) in enumerate(zip(self.adapters, student, teacher)):
            s = adapter(s, tuple(t.shape[-2:]))  # (N, C_teacher, H, W)
            spatial, channel = self.masks_of(level, s, t)
            squared = (t - s).square()
            kinds = (
                ('spatial', spatial, spatial_masked_loss),
                ('channel', channel, channel_masked_loss),
            )
            for kind, masks, loss in kinds:
                if masks is None:
                    continue
                used = masks if self.seek == 'agreement' else 2 * masks.detach() - masks
                masked = loss(squared, used, self.reduction).mean()
                terms.setdefault(kind, []).append(self.alpha * masked)
                areas.setdefault(kind, []).append(masks.detach().flatten(2).mean((0, 2)))
                if self.diversity and masks.shape[1] > 1:
                    dice = dice_diversity(masks.flatten(2))
                    terms.setdefault('diversity', []).append(self.diversity * dice)
                if self.area and masks.requires_grad:
                    balance = area_balance(masks.flatten(2))
                    terms.setdefault('area', []).append(self.area * balance)
        for kind, levels in areas.items():  # a mean of ½ hides masks that are all 0 or 1
            area = torch.cat(levels)
            for name, value in dict(_min=area.min(), _max=area.max()).items():
                self.monitored[f'area_{kind}{name}'] = value
            self.monitored[f'area_{kind}'] = area.mean()
        return {name: torch.stack(values).sum() for name, values in terms.items()}

    @torch.no_grad()
    def masks(self, student: list[Tensor], teacher: list[Tensor], view: View) -> list[Tensor]:
        """Return the spatial masks (N, M, H, W) of every level, none without that kind."""
        found = []
        for level, (adapter, s, t) in enumerate(zip(self.adapters, student, teacher)):
            spatial, _ = self.masks_of(level, adapter(s, tuple(t.shape[-2:])), t)
            if spatial is not None:
                found.append(spatial)
        return found
