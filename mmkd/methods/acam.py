"""ACAM-KD: masks of locations and channels that teacher and student choose together."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from mmkd.functional import REDUCTIONS, dice_diversity, masked_loss
from mmkd.methods.base import Maps
from mmkd.methods.maps import MapMethod
from mmkd.registry import MODELS
from mmkd.utils import deprecated, integer, log_warning, non_negative, one_of, positive
from mmkd.view import View

FUSIONS = ('cooperative', 'reversed', 'teacher', 'fixed')
# Time grows with the square of the locations; pool='auto' keeps it below that of this many.
MAX_CELLS = 20_000
MASK_STD = 0.01  # of the selection units: all masks start near ½
WIDTH_MULTIPLE = 8  # fused attention kernels need widths that are multiples of it
# Masks of locations (N, M, H, W) and of channels (N, M, C), None for a kind not made.
Masks = tuple[Tensor | None, Tensor | None]


def attend_in_pieces(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention, its result still in pieces of channels.

    ``softmax(Qᵀ K / √Q) Vᵀ``, exact, in memory that grows with P and not with P · S. torch's fused
    kernels on the CPU need values as wide as queries: the values are cut into J heads of equal
    width, zero-padded, that share their queries and keys.

    Args:
        query: Queries (N, Q, P) of P locations.
        key: Keys (N, Q, S) of S locations.
        value: Values (N, C, S).

    Returns:
        Pieces (N, J, P, W) with J · W ≥ C: channel c is piece c // W, column c % W, and the columns
        from C on are 0.
    """
    narrow, channels = query.shape[1], value.shape[1]
    width = narrow + -narrow % WIDTH_MULTIPLE
    pieces = -(-channels // width)
    if width > narrow:  # padding copies even where there is nothing to pad
        query, key = (F.pad(x, (0, 0, 0, width - narrow)) for x in (query, key))
    if pieces * width > channels:
        value = F.pad(value, (0, 0, 0, pieces * width - channels))
    # The kernels need the last dimension contiguous. An expanded tensor is saved once.
    heads = value.unflatten(1, (pieces, width)).transpose(2, 3).contiguous()  # (N, J, S, W)
    q, k = (
        x.transpose(1, 2).contiguous()[:, None].expand(-1, pieces, -1, -1) for x in (query, key)
    )
    return F.scaled_dot_product_attention(q, k, heads, scale=narrow**-0.5)


def pool_cells(x: Tensor, factor: int) -> Tensor:
    """Average a map (N, C, H, W) over squares of that side, cut off at the border."""
    return F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False) if factor > 1 else x


def area_balance(masks: Tensor, eps: float = 1e-6) -> Tensor:
    """Distance of the masks' areas from ½: ``mean_m KL(½ || a_m) = mean_m -½ ln(4 a_m (1 - a_m))``.

    a_m is the mean of mask m (N, M, P) over N and P. The divergence is 0 where a_m is ½, 0.8 at
    0.05 and at 0.95, and unbounded towards an empty and a full mask (up to ``eps``). A mask may
    still be 0 or 1 at every single location. Source: ours.
    """
    area = masks.mean((0, 2)).clamp(eps, 1 - eps)
    return -0.5 * (4 * area * (1 - area)).log().mean()


def activation_masks(x: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Masks of locations (N, 1, H, W) and channels (N, 1, C) from a map (N, C, H, W) alone.

    The sigmoid of the mean magnitude of each location and of each channel, standardized within the
    image (``eps`` is added to the deviation); ½ for a map of one location or channel.
    """
    magnitude = x.abs()
    soft = []
    for values in (magnitude.mean(1).flatten(1), magnitude.mean((2, 3))):
        deviation = values.std(1, keepdim=True, unbiased=False) + eps
        soft.append(((values - values.mean(1, keepdim=True)) / deviation).sigmoid())
    return soft[0].view(x.shape[0], 1, *x.shape[2:]), soft[1][:, None]


class MaskUnits(nn.Module):
    """The mask generators of one level: cross attention (STCA-FF) and selection units (ASCM).

    Args:
        channels: Channels C of the (aligned) maps.
        num_masks: Number M of masks of each kind.
        masks_from: As in :class:`ACAM`.
    """

    def __init__(self, channels: int, num_masks: int, masks_from: str) -> None:
        super().__init__()
        narrow = max(channels // 2, 1)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.key = nn.Conv2d(channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        for kind, size in dict(spatial=channels, channel=1).items():
            made = masks_from in ('both', kind)
            unit = nn.Parameter(torch.randn(num_masks, size) * MASK_STD) if made else None
            self.register_parameter(kind, unit)

    def forward(self, query: Tensor, key: Tensor, pool: int) -> Masks:
        """Return both kinds of masks from maps (N, C, H, W) of queries and of keys and values.

        ``key`` is averaged over squares of side ``pool`` first; 1 is exact.
        """
        channels, key = query.shape[1], pool_cells(key, pool)
        fused = attend_in_pieces(
            self.query(query).flatten(2), self.key(key).flatten(2), self.value(key).flatten(2)
        )  # (N, J, H·W, W'), never the matrix of all pairs
        spatial = channel = None
        if self.spatial is not None:
            units = F.pad(self.spatial, (0, fused.shape[1] * fused.shape[3] - channels))
            units = units.t().unflatten(0, (fused.shape[1], fused.shape[3]))  # (J, W', M)
            # Piece by piece, because the fused map as a whole would be a second copy to keep.
            spatial = (fused @ units).sum(1).transpose(1, 2).sigmoid()  # (N, M, H·W)
            spatial = spatial.unflatten(2, query.shape[2:])
        if self.channel is not None:
            pooled = fused.mean(2).flatten(1)[:, :channels]  # (N, C)
            channel = (self.channel * pooled[:, None]).sigmoid()  # (N, M, C)
        return spatial, channel


@MODELS.register_module()
class ACAM(MapMethod):
    """Compare maps under masks that cross attention between teacher and student chooses.

    With F_s aligned by a 1×1 convolution where the channels differ and D = F_t - F_s, at each
    level:

    ``A = softmax((W_q F_t)ᵀ (W_k F_s) / √C_q)``, ``F = A (W_v F_s)ᵀ``, C_q = C / 2;
    ``M^s = σ(m^s F)`` (M masks of locations), ``M^c = σ(m^c GAP(F))`` (M masks of channels);
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
        area: Weight of the term that keeps areas near ½; 0 leaves it out. Defaults to 2.0.
        masks_from: ``'both'``, ``'spatial'`` or ``'channel'``. Defaults to ``'both'``.
        fusion: ``'cooperative'``: queries of the teacher, keys and values of the student.
            ``'reversed'``: the other way round. ``'teacher'``: all three of the teacher.
            ``'fixed'``: :func:`activation_masks` of the teacher. Defaults to ``'cooperative'``.
        reduction: ``'mask_sum'`` divides by a mask's sum as above, ``'weighted_mean'`` by that of
            its squares. ``'literal'``, which multiplies by its sum, is deprecated. Defaults to
            ``'weighted_mean'``.
        seek: ``'agreement'``: masks follow the gradient of the losses, as published, to where
            student and teacher differ least. ``'difference'``: they follow it upwards, to where
            they differ most, and the student is detached in them. Defaults to ``'agreement'``.
        detach_student_in_mask: Keep the student from lowering the loss by moving the masks.
            Defaults to False.
        pool: Side of the squares of locations over which keys and values are averaged; 1 is exact.
            ``'auto'`` is exact up to 20 000 locations and pools just enough beyond, with a
            warning. Defaults to ``'auto'``.
        checkpoint: Recompute the attention in the backward pass to save memory. Defaults to False.
        **kwargs: ``normalize`` and others, see :class:`~mmkd.methods.maps.MapMethod`. Masks
            read the normalized maps.

    Deviations: there is no official code. As far as any text goes, the losses divide by the mask's
    sum (``'mask_sum'``), as those of MasKD, their ancestor. A smaller mask then has a smaller loss,
    and trained masks shrink to nothing within a hundred steps on a small set. Ours:
    ``'weighted_mean'``, which is invariant to a mask's scale; the term
    that keeps areas near ½ (:func:`area_balance`), because empty and full masks are the cheapest
    way to be diverse; ``seek='difference'``; ``'fixed'``, as the paper's fixed masks are not
    public. Dice is the mean over pairs (MasKD). C_q is rounded down.
    """

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
        self.num_masks = integer(1, num_masks=num_masks)
        self.alpha = positive(alpha=alpha)
        self.diversity = non_negative(diversity=diversity)
        self.area = non_negative(area=area)
        self.masks_from = one_of(('both', 'spatial', 'channel'), masks_from=masks_from)
        self.fusion = one_of(FUSIONS, fusion=fusion)
        self.reduction = one_of(REDUCTIONS, reduction=reduction)
        if reduction == 'literal':
            deprecated("reduction='literal'", "reduction='mask_sum', the paper's form")
        self.seek = one_of(('agreement', 'difference'), seek=seek)
        self.detach_student_in_mask = detach_student_in_mask or seek == 'difference'
        self.pool = pool if pool == 'auto' else integer(1, pool=pool)
        self.checkpoint = checkpoint
        self._announced: set[int] = set()

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the adapters and the mask generators of every level."""
        self.adapters = self.build_adapters(student, teacher)
        channels = [] if self.fusion == 'fixed' else [t.shape[1] for t in teacher]
        self.units = nn.ModuleList(MaskUnits(c, self.num_masks, self.masks_from) for c in channels)

    def compute_masks(self, level: int, student: Tensor, teacher: Tensor) -> Masks:
        """Return spatial and channel masks of a level as :class:`MaskUnits`, of aligned maps."""
        if self.fusion == 'fixed':
            kinds = zip(('channel', 'spatial'), activation_masks(teacher))
            spatial, channel = (None if self.masks_from == other else x for other, x in kinds)
            return spatial, channel
        if self.detach_student_in_mask:
            student = student.detach()
        query = student if self.fusion == 'reversed' else teacher
        key = student if self.fusion == 'cooperative' else teacher
        arguments = query, key, self.pool_factor(level, tuple(teacher.shape[-2:]))
        if self.checkpoint and torch.is_grad_enabled():
            return recompute(self.units[level], *arguments, use_reentrant=False)
        return self.units[level](*arguments)

    def pool_factor(self, level: int, size: tuple[int, int]) -> int:
        """Return by how much the keys of a map are pooled; warn once if ``'auto'`` pools."""
        if self.pool != 'auto':
            return int(self.pool)
        cells = size[0] * size[1]
        factor = math.ceil(cells / MAX_CELLS)  # time is cells² / factor², MAX_CELLS² at most
        if factor > 1 and level not in self._announced:
            self._announced.add(level)
            log_warning(
                f'{self.key}.pool: level {level} has {size[0]}×{size[1]} = {cells} locations: auto '
                f'averages keys and values over {factor}×{factor} of them; pool=1 is exact'
            )
        return factor

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``spatial``, ``channel``, ``diversity`` and ``area``, the sums over the levels."""
        terms: dict[str, list[Tensor]] = {}
        areas: dict[str, list[Tensor]] = {}
        for level, (s, t) in enumerate(self.compared(student, teacher, view)):
            masks_of_level = self.compute_masks(level, s, t)
            squared = (t - s).square()  # (N, C, H, W)
            energies = squared.mean(1).flatten(1), squared.mean((2, 3))  # (N, H·W), (N, C)
            for kind, found, energy in zip(('spatial', 'channel'), masks_of_level, energies):
                if found is None:
                    continue
                masks = found.flatten(2)  # (N, M, H·W) or (N, M, C)
                used = masks if self.seek == 'agreement' else 2 * masks.detach() - masks
                terms.setdefault(kind, []).append(masked_loss(energy, used, self.reduction).mean())
                areas.setdefault(kind, []).append(masks.detach().mean((0, 2)))
                if self.diversity and masks.shape[1] > 1:
                    terms.setdefault('diversity', []).append(dice_diversity(masks))
                if self.area and masks.requires_grad:
                    terms.setdefault('area', []).append(area_balance(masks))
        for kind, levels in areas.items():  # a mean of ½ hides masks that are all 0 or 1
            area, name = torch.cat(levels), f'area_{kind}'
            self.monitored[f'{name}_min'], self.monitored[f'{name}_max'] = area.min(), area.max()
            self.monitored[name] = area.mean()
        weights = dict(diversity=self.diversity, area=self.area)
        return {k: weights.get(k, self.alpha) * torch.stack(v).sum() for k, v in terms.items()}

    @torch.no_grad()
    def masks(self, student: Maps, teacher: Maps, view: View) -> list[Tensor]:
        """Return the spatial masks (N, M, H, W) of every level, none without that kind."""
        pairs = enumerate(self.compared(student, teacher, view))
        found = (self.compute_masks(level, s, t)[0] for level, (s, t) in pairs)
        return [spatial for spatial in found if spatial is not None]
