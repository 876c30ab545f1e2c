"""CWD: channel-wise distillation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import softmax_kl
from mmkd.methods.base import Maps, Method
from mmkd.registry import MODELS
from mmkd.utils import positive
from mmkd.view import View


def channel_kl(student: Tensor, teacher: Tensor, tau: float = 1.0) -> Tensor:
    """KL(teacher || student) of every channel's softmax over the map, scaled by τ².

    ``L = τ²/C Σ_c KL(softmax_hw(F_t,c / τ) || softmax_hw(F_s,c / τ))``, mean over N.

    Args:
        student: Map (N, C, H, W).
        teacher: Map (N, C, H, W), without gradient.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Scalar; 0 where the student equals the teacher, and on maps of one location.
    """
    s, t = (x.flatten(2) / tau for x in (student, teacher))  # (N, C, H·W)
    return softmax_kl(s, t.log_softmax(2), 2, is_log=True).mean() * tau**2


@MODELS.register_module()
class CWD(Method):
    """Pull every channel's distribution over the map towards the teacher's.

    ``L = Σ_l τ²/C Σ_c KL(softmax_hw(F_t,c / τ) || softmax_hw(φ(F_s)_c / τ))``, mean over N, where
    φ is a 1×1 convolution if the channels differ and nothing otherwise.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021;
    ``ChannelWiseDivergence`` of open-mmlab/mmrazor@90c7af1, which equals the authors' code.

    Args:
        student: Tap of L maps (N, C_student, H, W): class maps such as ``decode_head.conv_seg``,
            or features.
        teacher: Tap of L maps (N, C_teacher, H, W).
        tau: Temperature. Defaults to 1.0.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: a 1×1 convolution where the channels differ, and the student's map interpolated to
    the teacher's where the sizes do; the official loss requires equal ones. ``CriterionCWD`` of
    winycg/CIRKD@dab64db divides by the student's channels in front of the convolution: its loss
    is ``C_teacher / C_student`` times this one, a factor for ``weight``.
    """

    def __init__(self, student: Any, teacher: Any, tau: float = 1.0, **kwargs: Any) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = positive(tau=tau)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the adapters."""
        self.adapters = self.build_adapters(student, teacher)

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``cwd``, the sum over the levels."""
        pairs = self.compared(student, teacher, view)
        return dict(cwd=torch.stack([channel_kl(s, t, self.tau) for s, t in pairs]).sum())
