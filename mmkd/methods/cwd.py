"""CWD: channel-wise distillation."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import channel_kl
from mmkd.methods.base import Method, Tensors
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


@MODELS.register_module()
class CWD(Method):
    """Pull every channel's distribution over the map towards the teacher's.

    ``L = Σ_l τ²/C Σ_c KL(softmax_hw(F_t,c / τ) || softmax_hw(φ(F_s)_c / τ))``, mean over N, where
    φ is a 1×1 convolution if the channels differ and nothing otherwise.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021.

    Args:
        student: Tap of L maps (N, C_student, H, W): class maps such as ``decode_head.conv_seg``,
            or features.
        teacher: Tap of L maps (N, C_teacher, H, W).
        tau: Temperature. Defaults to 1.0.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the student is resized to the teacher where the sizes differ, never the teacher.
    The levels are summed, as each is a loss of its own in the detection recipe. Padding and
    ignored pixels are cells like all others.
    """

    def __init__(self, student: Any, teacher: Any, tau: float = 1.0, **kwargs: Any) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = tau
        if not self.tau > 0:
            raise ConfigError('tau', f'a temperature is positive, not {self.tau}')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Create the adapters."""
        self.adapters = self.build_adapters(student, teacher)

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``cwd``, the sum over the levels."""
        total = student[0].new_zeros(())
        for adapter, s, t in zip(self.adapters, student, teacher):
            s = adapter(s, tuple(t.shape[-2:]))  # (N, C_teacher, H, W)
            total = total + channel_kl(s, t, self.tau)
        return dict(cwd=total)
