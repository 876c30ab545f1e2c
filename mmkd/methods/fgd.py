"""FGD: focal and global distillation of detectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ContextBlock
from torch import Tensor, nn

from mmkd.functional import normalized, pad_boxes
from mmkd.methods.base import Maps
from mmkd.methods.detection import objects
from mmkd.methods.maps import MapMethod
from mmkd.registry import MODELS
from mmkd.utils import non_negative, positive
from mmkd.view import View


def spatial_attention(x: Tensor, tau: float = 1.0) -> Tensor:
    """Softmax over the locations of a map's mean activation, times H·W, so that its mean is 1.

    The map is (N, C, H, W), the attention (N, 1, H, W); ``tau`` is the temperature.
    """
    activity = x.abs().mean(1, keepdim=True)  # (N, 1, H, W)
    attention = F.softmax(activity.flatten(1) / tau, dim=1) * activity[0].numel()
    return attention.view_as(activity)


def channel_attention(x: Tensor, tau: float = 1.0) -> Tensor:
    """Softmax over the channels of a map's mean activation, times C, so that its mean is 1.

    The map is (N, C, H, W), the attention (N, C, 1, 1); ``tau`` is the temperature.
    """
    activity = x.abs().mean((2, 3), keepdim=True)  # (N, C, 1, 1)
    return F.softmax(activity / tau, dim=1) * x.shape[1]


def foreground_masks(
    boxes: Tensor, present: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Weight locations in boxes by one over the box's area, and all others equally.

    ``M_fg(p) = max over the boxes with p of 1/(h·w)``, ``M_bg(p) = [no box has p] / #background``.
    A box covers the locations from ⌊x1⌋ to ⌈x2⌉ and from ⌊y1⌋ to ⌈y2⌉, both included; so w is
    ``⌈x2⌉ - ⌊x1⌋ + 1``, even if part of it lies outside of the map. The rounding is that of the
    authors' code.

    Args:
        boxes: Boxes (N, B, 4) as x1, y1, x2, y2 in locations of the map.
        present: Which boxes are real, (N, B) bool.
        size: Height and width of the map.

    Returns:
        Foreground and background (N, 1, H, W) in the boxes' dtype. An image without boxes is all
        background, one without background has a zero background mask.
    """
    left, top = boxes[..., 0].floor(), boxes[..., 1].floor()  # (N, B)
    right, bottom = boxes[..., 2].ceil(), boxes[..., 3].ceil()
    weight = present / ((right - left + 1) * (bottom - top + 1)).clamp(min=1)
    ys, xs = (torch.arange(length, device=boxes.device) for length in size)
    columns = (xs >= left[..., None]) & (xs <= right[..., None])  # (N, B, W)
    rows = (ys >= top[..., None]) & (ys <= bottom[..., None])  # (N, B, H)
    inside = rows[..., :, None] & columns[..., None, :]  # (N, B, H, W)
    weights = torch.where(inside, weight.to(boxes.dtype)[..., None, None], 0)
    foreground = weights.amax(1, keepdim=True)  # (N, 1, H, W)
    background = (foreground == 0).to(boxes.dtype)
    return foreground, background / background.sum((2, 3), keepdim=True).clamp(min=1)


def weighted_squares(squares: Tensor, channels: Tensor, cells: Tensor) -> Tensor:
    """Sum one squared difference ``D = (F_s - F_t)²`` under several weight maps.

    ``L_m = 1/N Σ_n Σ_hw cells_m Σ_c channels_c D``. The channels are summed first, so the
    backward pass keeps no tensor of the map's size, however many masks there are.

    Args:
        squares: Squared difference D (N, C, H, W).
        channels: Weights (N, C, 1, 1), without gradient.
        cells: Weights (N, M, H, W) of M masks, without gradient.

    Returns:
        The M sums, means over N.
    """
    summed = (squares * channels).sum(1, keepdim=True)  # (N, 1, H, W)
    return (summed * cells).sum((0, 2, 3)) / len(squares)


class GlobalContext(ContextBlock):
    """One vector, pooled from the whole map, that is added at every location.

    ``R(F) = F + W2 ReLU(LN(W1 Σ_p softmax_p(w·F) F_p))``.

    Source: GCNet, Cao et al., 2019, as FGD uses it: W1 halves the channels, W2 starts at zero.

    Args:
        channels: Channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, ratio=0.5 if channels > 1 else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the vector (N, C, 1, 1) for a map (N, C, H, W), of any memory format."""
        share = self.conv_mask(x).flatten(2).softmax(2)  # (N, 1, H·W)
        context = x.flatten(2) @ share.transpose(1, 2)  # (N, C, 1)
        return self.channel_add_conv(context[..., None])


@MODELS.register_module()
class FGD(MapMethod):
    """Distill foreground and background separately, weighted by attention, and global relations.

    With ``D = (φ(F_s) - F_t)²``, the attentions ``A^S`` (N, 1, H, W) and ``A^C`` (N, C, 1, 1), and
    the masks of :func:`foreground_masks`:

    ``L = α Σ M_fg A_t^S A_t^C D + β Σ M_bg A_t^S A_t^C D
    + γ (||A_s^S - A_t^S||_1 + ||A_s^C - A_t^C||_1) + λ Σ (R_s(φ(F_s)) - R_t(F_t))²``,

    sums over C, H and W, mean over N, sum over levels. R is :class:`GlobalContext`.

    Source: Yang et al., "Focal and Global Knowledge Distillation for Detectors", CVPR 2022, and
    ``FeatureLoss`` of yzd-v/FGD@c03a6cf.

    Args:
        student: Tap of L maps (N, C_student, H, W), usually all levels of the FPN; four of them in
            two-stage detectors.
        teacher: Tap of L maps (N, C_teacher, H, W).
        alpha: Weight α of the foreground. Defaults to 0.001.
        beta: Weight β of the background. Defaults to 0.0005.
        gamma: Weight γ of the attention. Defaults to 0.0005.
        lambda_: Weight λ of the global relation. Defaults to 0.000005.
        tau: Temperature of the attentions. Defaults to 0.5.
        use_pad_shape: Divide boxes by the size of the padded batch, to which they and the map
            refer. False divides by each image's own size, as the authors' code does; the boxes of
            images smaller than their batch are then stretched. Those of mixed images are always
            divided by the batch's size. Defaults to False, as published.
        **kwargs: ``normalize`` and others, see :class:`~mmkd.methods.maps.MapMethod`.
            ``weight`` scales all four terms. All of them, and the attentions, read the normalized
            maps.

    Deviations: none in value. The maps are compared once, under one weight map for each term,
    instead of four masked copies of them. Ignored (crowd) boxes are background, as in the authors'
    code. The losses are sums: they scale with channels and map size, and so must the weights.
    """

    tasks = ('det',)

    def __init__(
        self,
        student: Any,
        teacher: Any,
        alpha: float = 1e-3,
        beta: float = 5e-4,
        gamma: float = 5e-4,
        lambda_: float = 5e-6,
        tau: float = 0.5,
        use_pad_shape: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        weights = dict(alpha=alpha, beta=beta, gamma=gamma, lambda_=lambda_)
        self.term_weights = [non_negative(**{name: w}) for name, w in weights.items()]
        self.tau = positive(tau=tau)
        self.use_pad_shape = use_pad_shape

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the adapters and the context blocks of both sides."""
        self.adapters = self.build_adapters(student, teacher)
        self.student_context = nn.ModuleList(GlobalContext(t.shape[1]) for t in teacher)
        self.teacher_context = nn.ModuleList(GlobalContext(t.shape[1]) for t in teacher)

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``foreground``, ``background``, ``attention`` and ``context``."""
        levels, boxes = [], self.boxes(view)
        pairs = self.compared(student, teacher, view)  # (N, C_teacher, H, W) each
        contexts = zip(self.student_context, self.teacher_context, pairs)
        for student_block, teacher_block, (s, t) in contexts:
            cells, channels = spatial_attention(t, self.tau), channel_attention(t, self.tau)
            masks = self.box_masks(boxes, t)  # (N, 2, H, W)
            difference = s - t  # the one tensor of the map's size that is kept for backward
            squares = difference.square()
            focal = weighted_squares(squares, channels, masks * cells)
            attention = (
                (spatial_attention(s, self.tau) - cells).abs().sum()
                + (channel_attention(s, self.tau) - channels).abs().sum()
            ) / len(s)
            # (R_s(F_s) - R_t(F_t))² = (difference + shift)², summed without a second map.
            shift = (student_block(s) - teacher_block(t)).flatten(1)  # (N, C)
            context = squares.sum() + 2 * (shift * difference.sum((2, 3))).sum()
            context = (context + shift.square().sum() * t[0, 0].numel()) / len(s)
            levels.append(torch.stack((focal[0], focal[1], attention, context)))
        names = ('foreground', 'background', 'attention', 'context')
        totals = zip(names, self.term_weights, torch.stack(levels).sum(0))
        return {name: weight * total for name, weight, total in totals}

    def masks(self, student: Maps, teacher: Maps, view: View) -> list[Tensor]:
        """Return the foreground mask and the teacher's spatial attention, (N, 2, H, W)."""
        boxes = self.boxes(view)
        return [
            torch.cat((self.box_masks(boxes, t)[:, :1], spatial_attention(t, self.tau)), 1)
            for t in (normalized(x, self.normalize) for x in teacher)
        ]

    def box_masks(self, boxes: tuple[Tensor, Tensor, Tensor], like: Tensor) -> Tensor:
        """Return foreground and background (N, 2, H, W) on a map, from :meth:`boxes`."""
        pixels, present, extent = boxes
        height, width = like.shape[-2:]
        # In the order of the authors' code: edges on the border of a cell round as theirs do.
        scaled = pixels.to(like) / extent.to(like)[:, None]  # (N, B, 4)
        scaled = scaled * like.new_tensor((width, height, width, height))
        masks = foreground_masks(scaled, present, (height, width))
        return torch.cat(masks, 1)

    def boxes(self, view: View) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes in pixels (N, B, 4), which are real (N, B), and the map's extent (N, 4).

        The extent is width, height, width, height in pixels. Errors are those of :func:`objects`.
        """
        boxes = [found.bboxes for found in objects(view)]
        pixels, present = pad_boxes(boxes)
        sizes = [tuple(view.inputs.shape[-2:])] * len(boxes)
        if not self.use_pad_shape and not view.parts:
            sizes = [tuple(sample.img_shape[:2]) for sample in view.data_samples]
        extent = torch.tensor([(w, h, w, h) for h, w in sizes])
        return pixels, present, extent.to(pixels, non_blocking=True)
