"""AT: attention transfer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.methods.base import Maps, Method
from mmkd.registry import MODELS
from mmkd.utils import at_least
from mmkd.view import View


def activation_attention(x: Tensor, p: float = 2.0) -> Tensor:
    """Mean of ``|F|^p`` over the channels, flattened and divided by its Euclidean norm.

    Args:
        x: Map (N, C, H, W).
        p: Power. Defaults to 2.0.

    Returns:
        Attention (N, H·W); 0 where the whole map is.
    """
    power = x.square() if p == 2 else x.abs().pow(p)  # squares need no second copy of the map
    return F.normalize(power.mean(1).flatten(1), dim=1)


def attention_distance(student: Tensor, teacher: Tensor, p: float = 2.0) -> Tensor:
    """Mean squared difference of two attention maps, of any channels and sizes.

    The larger map is pooled to the smaller one, along each axis.

    Args:
        student: Map (N, C_student, H, W).
        teacher: Map (N, C_teacher, H', W').
        p: Power of the attention. Defaults to 2.0.

    Returns:
        Scalar, mean over N and the locations; 0 where the student equals the teacher.
    """
    size = tuple(min(s, t) for s, t in zip(student.shape[-2:], teacher.shape[-2:]))
    student, teacher = (
        x if x.shape[-2:] == size else F.adaptive_avg_pool2d(x, size) for x in (student, teacher)
    )
    return (activation_attention(student, p) - activation_attention(teacher, p)).square().mean()


@MODELS.register_module()
class AT(Method):
    """Make the student active where the teacher is.

    ``L = Σ_l mean (Q(F_s^l) - Q(F_t^l))²`` with the attention ``Q(F) = a / ||a||_2``,
    ``a = mean_c |F_c|^p``. Channels may differ: nothing is aligned and nothing is learned.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, eq. 2;
    ``at_loss`` of szagoruyko/attention-transfer@893df54 and its re-implementations in
    megvii-research/mdistiller@a08d46f and winycg/CIRKD@dab64db.

    Args:
        student: Tap of L maps (N, C_student, H, W).
        teacher: Tap of L maps (N, C_teacher, H', W'); the larger map is pooled to the smaller.
        p: Power. Defaults to 2.0.
        weight: See :class:`~mmkd.methods.base.Method`; the loss is a mean of squared differences of
            unit vectors, so it is tiny. Defaults to 1000.0, of CIFAR.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: none from the authors' code, whose squared mean replaces the paper's norm of the
    difference. mdistiller compares the maps' heights only to find the larger one, and takes the
    power of F, here as in the paper that of ``|F|``; both are equal for square maps and p = 2.
    """

    def __init__(
        self, student: Any, teacher: Any, p: float = 2.0, weight: Any = 1000.0, **kwargs: Any
    ) -> None:
        super().__init__(student, teacher, weight=weight, **kwargs)
        self.p = at_least(1, p=p)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the shapes."""
        self.check_pairs(student, teacher, ndim=4)

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``at``, the sum over the levels."""
        levels = [attention_distance(s, t, self.p) for s, t in zip(student, teacher)]
        return dict(at=torch.stack(levels).sum())
