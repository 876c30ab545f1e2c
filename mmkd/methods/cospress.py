"""CosPress: a teacher's embeddings, compressed so that their angles stay."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.methods.base import Method
from mmkd.methods.classification import check_tap
from mmkd.registry import MODELS
from mmkd.utils import gather_rows
from mmkd.view import View


def similarity_error(mapped: Tensor, original: Tensor) -> Tensor:
    """Mean squared change of the cosine similarities of a batch under a map.

    ``L = 1 / (N (N - 1)) Σ_i≠j (cos(m_i, m_j) - cos(e_i, e_j))²``

    Args:
        mapped: Embeddings (N, C) after the map.
        original: Embeddings (N, C') before it, without gradient.

    Returns:
        Scalar; 0 where the similarities are equal, and where N is 1.
    """
    units = [F.normalize(rows, dim=1) for rows in (mapped, original)]
    change = units[0] @ units[0].T - units[1] @ units[1].T  # (N, N)
    count = len(mapped) * (len(mapped) - 1)
    return (change - change.diag().diag()).square().sum() / max(count, 1)


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """``1 - cos`` of embeddings (N, C), mean over N: 0 in equal directions, 2 in opposite ones."""
    return (1 - F.cosine_similarity(student, teacher, dim=1)).mean()


@MODELS.register_module()
class CosPress(Method):
    """Compress the teacher's embeddings to the student's width and match their directions.

    Experimental: the loss of the map is ours, and no default table contains the method.

    A linear map W : R^C_t → R^C_s learns to keep the cosine similarities of the teacher's
    embeddings e_i of a batch,

    ``L_map = mean_i≠j (cos(W e_i, W e_j) - cos(e_i, e_j))²``,

    and the student learns the directions of the compressed embeddings,
    ``L = 1 - mean cos(f_s, W e)``. No gradient of L reaches W. The similarities are those among the
    images of all processes.

    Source: Mannix et al., "Preserving Angles Improves Feature Distillation", TMLR 2025;
    ``emannix/cospress-cosine-similarity-preserving-compression@65e94c0``.

    Args:
        student: Tap of one embedding (N, C_s): ``dict(module='head.fc', source='input')``.
        teacher: Tap of one embedding (N, C_t).
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: ``direction`` is the authors' loss of class tokens. The loss of the map is another
    one: ours is a squared error of cosines, theirs a KL between joint distributions of pairs
    (symmetrized softmaxes of the cosines at ten temperatures from 0.01 to 0.10). Their map is a
    LayerNorm and a linear layer with bias. Their terms on the patch tokens of every image are left
    out. One image alone has no similarities.
    """

    tasks = ('cls',)
    auxiliary = ('map',)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the map."""
        what = "one embedding (N, C), such as dict(module='head.fc', source='input')"
        width = check_tap(student, 'student', what, 2).shape[1]
        teacher_width = check_tap(teacher, 'teacher', what, 2).shape[1]
        self.compress = nn.Linear(teacher_width, width, bias=False)

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``map`` and ``direction``."""
        gathered = gather_rows(teacher[0])  # (N of all processes, C_t)
        target = self.compress(teacher[0]).detach()
        return dict(
            map=similarity_error(self.compress(gathered), gathered),
            direction=cosine_distance(student[0], target),
        )
