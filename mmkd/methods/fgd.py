"""FGD: focal and global distillation of detectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import (
    channel_attention,
    foreground_masks,
    pad_boxes,
    spatial_attention,
    weighted_squares,
)
from mmkd.methods.base import Method, Tensors
from mmkd.methods.detection import objects
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


class GlobalContext(nn.Module):
    """One vector that is drawn from the whole map, and that is added to every cell of it.

    ``R(F) = F + W2 ReLU(LN(W1 Σ_p softmax_p(w·F) F_p))``.

    Source: GCNet, Cao et al., 2019, as FGD uses it: W1 halves the channels, W2 starts at zero.

    Args:
        channels: Channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 2, 1)
        self.attend = nn.Conv2d(channels, 1, 1)
        self.transform = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.LayerNorm([hidden, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )
        nn.init.kaiming_normal_(self.attend.weight, mode='fan_in', nonlinearity='relu')
        nn.init.zeros_(self.attend.bias)
        nn.init.zeros_(self.transform[-1].weight)
        nn.init.zeros_(self.transform[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to every cell of a map (N, C, H, W): (N, C, 1, 1)."""
        share = self.attend(x).flatten(2).softmax(2)  # (N, 1, H·W)
        context = x.flatten(2) @ share.transpose(1, 2)  # (N, C, 1)
        return self.transform(context[..., None])


@MODELS.register_module()
class FGD(Method):
    """Distil foreground and background apart, where the teacher attends, and their relation.

    With ``D = (φ(F_s) - F_t)²``, the attentions ``A^S`` (N, 1, H, W) and ``A^C`` (N, C, 1, 1), and
    the masks of :func:`~mmkd.functional.foreground_masks`:

    ``L = α Σ M_fg A_t^S A_t^C D + β Σ M_bg A_t^S A_t^C D
    + γ (||A_s^S - A_t^S||_1 + ||A_s^C - A_t^C||_1) + λ Σ (R_s(φ(F_s)) - R_t(F_t))²``,

    sums over C, H and W, mean over N, sum over levels. R is :class:`GlobalContext`.

    Source: Yang et al., "Focal and Global Knowledge Distillation for Detectors", CVPR 2022.

    Args:
        student: Tap of L maps (N, C_student, H, W), usually all levels of the FPN.
        teacher: Tap of L maps (N, C_teacher, H, W).
        alpha: Weight α of the foreground. Defaults to 0.001.
        beta: Weight β of the background. Defaults to 0.0005.
        gamma: Weight γ of the attention. Defaults to 0.0005.
        lambda_: Weight λ of the global relation. Defaults to 0.000005.
        tau: Temperature of the attentions. Defaults to 0.5.
        use_pad_shape: Boxes are in pixels of the padded batch, and so is the map: divide by that.
            False divides by each image's own size, as the authors' code does; then the boxes of
            images smaller than their batch are stretched. Defaults to True.
        **kwargs: See :class:`~mmkd.methods.base.Method`; ``weight`` scales all four terms.

    Deviations: the maps are compared once, under one weight map for each term, instead of four
    masked copies of them; the values are the same. Ignored (crowd) boxes are background, as in the
    authors' code. The losses are sums: they scale with channels and map size, and so must the
    weights.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        alpha: float = 1e-3,
        beta: float = 5e-4,
        gamma: float = 5e-4,
        lambda_: float = 5e-6,
        tau: float = 0.5,
        use_pad_shape: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.term_weights = dict(alpha=alpha, beta=beta, gamma=gamma, lambda_=lambda_)
        self.tau = tau
        self.use_pad_shape = use_pad_shape
        if not self.tau > 0:
            raise ConfigError('tau', f'a temperature is positive, not {self.tau}')
        for name, value in self.term_weights.items():
            if not value >= 0:
                raise ConfigError(name, f'a weight is not negative, unlike {value}')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Create the adapters and the context blocks of both sides."""
        assert isinstance(teacher, list)
        self.adapters = self.build_adapters(student, teacher)
        self.student_context = nn.ModuleList(GlobalContext(t.shape[1]) for t in teacher)
        self.teacher_context = nn.ModuleList(GlobalContext(t.shape[1]) for t in teacher)

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``foreground``, ``background``, ``attention`` and ``context``."""
        names = ('foreground', 'background', 'attention', 'context')
        totals = dict.fromkeys(names, student[0].new_zeros(()))
        boxes = self.boxes(view)
        weights = self.term_weights
        blocks = zip(self.adapters, self.student_context, self.teacher_context)
        for (adapter, student_block, teacher_block), s, t in zip(blocks, student, teacher):
            size = tuple(t.shape[-2:])
            s = adapter(s, size)  # (N, C_teacher, H, W)
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
            context = (context + shift.square().sum() * size[0] * size[1]) / len(s)
            terms = (focal[0], focal[1], attention, context)
            for name, weight, term in zip(names, weights.values(), terms):
                totals[name] = totals[name] + weight * term
        return totals

    def masks(self, student: list[Tensor], teacher: list[Tensor], view: View) -> list[Tensor]:
        """Return the foreground mask and the teacher's spatial attention, (N, 2, H, W)."""
        boxes = self.boxes(view)
        return [
            torch.cat((self.box_masks(boxes, t)[:, :1], spatial_attention(t, self.tau)), 1)
            for t in teacher
        ]

    def box_masks(self, boxes: tuple[Tensor, Tensor, Tensor], like: Tensor) -> Tensor:
        """Return foreground and background (N, 2, H, W) on a map, of what :meth:`boxes` returns."""
        pixels, present, extent = boxes
        height, width = like.shape[-2:]
        # One over the stride, mostly a power of two: then borders between cells stay exact.
        scale = like.new_tensor((width, height, width, height)) / extent.to(like)  # (N, 4)
        masks = foreground_masks(pixels.to(like) * scale[:, None], present, (height, width))
        return torch.cat(masks, 1)

    def boxes(self, view: View) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes in pixels (N, B, 4), which are real (N, B), and what the map spans (N, 4).

        The span is width, height, width, height in pixels.

        Raises:
            ConfigError: There are no boxes x1, y1, x2, y2: the task is not detection.
        """
        boxes = [found.bboxes for found in objects(view)]
        pixels, present = pad_boxes(boxes)
        sizes = [tuple(view.inputs.shape[-2:])] * len(boxes)
        if not self.use_pad_shape:
            sizes = [tuple(sample.img_shape[:2]) for sample in view.data_samples]
        extent = torch.tensor([(w, h, w, h) for h, w in sizes])
        return pixels, present, extent.to(pixels, non_blocking=True)
