"""AT: attention transfer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import attention_distance
from mmkd.methods.base import Method, Tensors
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


@MODELS.register_module()
class AT(Method):
    """Make the student active where the teacher is.

    ``L = Σ_l mean (Q(F_s^l) - Q(F_t^l))²`` with the attention ``Q(F) = a / ||a||_2``,
    ``a = mean_c |F_c|^p``. Channels may differ, so there is nothing to align and nothing to learn.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, eq. 2.

    Args:
        student: Tap of L maps (N, C_student, H, W).
        teacher: Tap of L maps (N, C_teacher, H', W'); the larger map is pooled to the smaller.
        p: Power. Defaults to 2.0.
        weight: See :class:`~mmkd.methods.base.Method`; the loss is a mean over cells of
            differences of unit vectors, so it is tiny. Defaults to 1000.0, of CIFAR.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the squared mean instead of the norm of the difference, as in the public
    re-implementations that the published weights belong to.
    """

    def __init__(
        self, student: Any, teacher: Any, p: float = 2.0, weight: Any = 1000.0, **kwargs: Any
    ) -> None:
        super().__init__(student, teacher, weight=weight, **kwargs)
        self.p = p
        if not self.p >= 1:
            raise ConfigError('p', f'a power is at least 1, not {self.p}')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Check the shapes."""
        assert isinstance(student, list) and isinstance(teacher, list)
        self.check_pairs(student, teacher, ndim=4)

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``at``, the sum over the levels."""
        total = student[0].new_zeros(())
        for s, t in zip(student, teacher):
            total = total + attention_distance(s, t, self.p)
        return dict(at=total)
