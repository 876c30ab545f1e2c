"""DIST: correlations instead of divergences."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import class_rows, pearson_distance, resize_to
from mmkd.methods.base import Method, Tensors
from mmkd.methods.classification import check_classes, refuse_regions
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


@MODELS.register_module()
class DIST(Method):
    """Keep the order and the proportions of a teacher's probabilities, not their values.

    With ``d(u, v) = 1 - ρ(u, v)``, ρ the Pearson correlation, and the softmax p at temperature τ of
    images, or of the pixels of a segmenter:

    ``L = τ² (β mean_i d(p_s[i, :], p_t[i, :]) + γ mean_k d(p_s[:, k], p_t[:, k]))``

    The first term compares the classes within an image (``inter``), the second the images, or all
    pixels of the batch, within a class (``intra``).

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, eq. 9-10.

    Args:
        student: Tap of logits (N, K) or of class maps (N, K, H, W).
        teacher: The same of the teacher.
        tau: Temperature τ. Defaults to 1.0.
        beta: Weight β of the inter-class term. Defaults to 1.0.
        gamma: Weight γ of the intra-class term. Defaults to 1.0.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the paper has no factor τ²; code bases for classification have it, and at τ = 1
    there is no difference. On maps the student is resized to the teacher, and pixels with the
    ignore label count. Each rank correlates its own batch.
    """

    simulate = False

    def __init__(
        self,
        student: Any,
        teacher: Any,
        tau: float = 1.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = tau
        self.beta = beta
        self.gamma = gamma
        if not self.tau > 0:
            raise ConfigError('tau', f'a temperature is positive, not {self.tau}')
        for name in ('beta', 'gamma'):
            if getattr(self, name) < 0:
                raise ConfigError(name, 'a weight is not negative')
        if self.beta == self.gamma == 0:
            raise ConfigError('gamma', 'is 0, and so is beta: nothing would be learnt')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Check the taps."""
        assert isinstance(student, list) and isinstance(teacher, list)
        if len(student) != 1 or student[0].ndim not in (2, 4):
            shapes = [tuple(s.shape) for s in student]
            raise ConfigError('student', f'is a tap of logits (N, K) or (N, K, H, W), not {shapes}')
        self.check_pairs(student, teacher, ndim=student[0].ndim)
        check_classes(student, teacher)
        if student[0].shape[1] == 2 and self.beta:
            raise ConfigError(
                'beta',
                'two probabilities correlate with ±1 whatever the student says, and nothing is '
                'learnt from it: set beta=0',
            )

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``inter`` and ``intra``, with their weights β and γ; none of weight 0.

        Raises:
            ConfigError: The logits are those of regions, which differ between the two models.
        """
        refuse_regions(student, view)
        logits = student[0]
        target = view.simulate((teacher[0] / self.tau).softmax(1))
        if logits.ndim == 4:
            classes = logits.shape[1]
            logits = class_rows(resize_to(logits, tuple(target.shape[-2:])), classes)
            target = class_rows(target, classes)  # (N·H·W, K)
        probs = (logits / self.tau).softmax(1)
        losses = {}
        if self.beta:
            losses['inter'] = self.beta * self.tau**2 * pearson_distance(probs, target)
        if self.gamma:
            losses['intra'] = self.gamma * self.tau**2 * pearson_distance(probs.T, target.T)
        return losses
