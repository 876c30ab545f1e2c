"""CosPress: a teacher's embeddings, compressed so that their angles stay."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import cosine_distance, similarity_error
from mmkd.methods.base import Method, Tensors
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.utils.gather import gather_rows
from mmkd.view import View


@MODELS.register_module()
class CosPress(Method):
    """Compress the teacher's embeddings to the student's width and point the student at them.

    Known from the abstract of the paper only: the formulas are our reading. Experimental, and in
    none of the default tables.

    A linear map W : R^C_t → R^C_s learns to keep the cosine similarities of the teacher's
    embeddings e_i of a batch,

    ``L_map = mean_i≠j (cos(W e_i, W e_j) - cos(e_i, e_j))²``,

    and the student the directions of the compressed embeddings, ``L = 1 - mean cos(f_s, W e)``.
    No gradient of L reaches W. The similarities are those of the images of all processes.

    Source: Mannix et al., "Preserving Angles Improves Feature Distillation", TMLR 2025 (abstract).

    Args:
        student: Tap of one embedding (N, C_s): ``dict(module='head.fc', source='input')``.
        teacher: Tap of one embedding (N, C_t).
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: everything beyond the idea, a learned map that keeps cosine similarities, is ours:
    the squared error, the linear map without a bias, and training both at once. One image alone
    has no similarities.
    """

    auxiliary = ('map',)

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Create the map."""
        assert isinstance(student, list) and isinstance(teacher, list)
        for side, tensors in (('student', student), ('teacher', teacher)):
            if len(tensors) != 1 or tensors[0].ndim != 2:
                shapes = [tuple(t.shape) for t in tensors]
                raise ConfigError(
                    f'{side}',
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
            map=similarity_error(self.compress(everybody), everybody),
            direction=cosine_distance(student[0], target),
        )
