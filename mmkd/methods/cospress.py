"""CosPress: a teacher's embeddings, compressed so that their angles stay."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import cosine_distance, similarity_divergence
from mmkd.methods.base import Method, Tensors
from mmkd.mixers.view import View
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.utils.gather import gather_rows


@MODELS.register_module()
class CosPress(Method):
    """Compress the teacher's embeddings to the student's width and point the student at them.

    Known from the abstract of the paper only: the formulas are our reading. Experimental, and in
    none of the default tables.

    A linear map W : R^C_t → R^C_s learns to keep the cosine similarities of the teacher's
    embeddings e_i of a batch,

    ``L_map = 1/N Σ_i KL(softmax_j≠i(cos(e_i, e_j) / τ) || softmax_j≠i(cos(W e_i, W e_j) / τ))``,

    and the student the directions of the compressed embeddings, ``L = 1 - mean cos(f_s, W e)``.
    No gradient of L reaches W. The similarities are those of the images of all processes.

    Source: the paper named CosPress, arXiv 2411.15239 (abstract).

    Args:
        student: Tap of one embedding (N, C_s): ``dict(module='head.fc', source='input')``.
        teacher: Tap of one embedding (N, C_t).
        tau: Temperature τ. Defaults to 0.1.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: everything beyond the idea, a learned map that keeps cosine similarities, is ours:
    the divergence, its temperature, the linear map without a bias, and training both at once. At
    least three images are needed for a similarity to be compared with another one.
    """

    auxiliary = ('map',)

    def __init__(self, student: Any, teacher: Any, tau: float = 0.1, **kwargs: Any) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = tau

    def configure(self, key: str) -> None:
        """Check the arguments."""
        super().configure(key)
        if not self.tau > 0:
            raise ConfigError(f'{key}.tau', f'a temperature is positive, not {self.tau}')

    def build(self, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Create the map."""
        assert isinstance(student, list) and isinstance(teacher, list)
        for side, tensors in (('student', student), ('teacher', teacher)):
            if len(tensors) != 1 or tensors[0].ndim != 2:
                shapes = [tuple(t.shape) for t in tensors]
                raise ConfigError(
                    f'{self.key}.{side}',
                    f"is a tap of one embedding (N, C), such as dict(module='head.fc', "
                    f"source='input'), not {shapes}",
                )
        self.compress = nn.Linear(teacher[0].shape[1], student[0].shape[1], bias=False)

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``map`` and ``direction``."""
        everybody = gather_rows(teacher[0])  # (N of all processes, C_t)
        target = self.compress(teacher[0]).detach()
        return dict(
            map=similarity_divergence(self.compress(everybody), everybody, self.tau),
            direction=cosine_distance(student[0], target),
        )
