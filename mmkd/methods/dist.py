"""DIST: correlations instead of divergences."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import class_rows, resize_to
from mmkd.methods.base import Method
from mmkd.methods.classification import check_channels, check_tap, refuse_queries, refuse_regions
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, non_negative, positive
from mmkd.view import View

FEW = 4  # images


def pearson_distance(student: Tensor, teacher: Tensor, eps: float = 1e-8) -> Tensor:
    """One minus the Pearson correlation of corresponding rows, mean over rows.

    Args:
        student: Rows (R, D).
        teacher: Rows (R, D), without gradient.
        eps: Added to the product of the norms of two centered rows, as in the authors' code.
            Defaults to 1e-8.

    Returns:
        Scalar in [0, 2]; near 0 where the student's rows are rising linear functions of the
        teacher's. A constant row has distance 1; its gradient is finite, but of the order of
        ``1 / eps`` if the student's is the constant one.
    """
    x, y = (side - side.mean(1, keepdim=True) for side in (student, teacher))
    norms = x.norm(dim=1) * y.norm(dim=1)  # (R,)
    return 1 - ((x * y).sum(1) / (norms + eps)).mean()


@MODELS.register_module()
class DIST(Method):
    """Match the order and proportions of the teacher's probabilities, not their values.

    With ``d(u, v) = 1 - ρ(u, v)``, ρ the Pearson correlation, and the softmax p at temperature τ of
    images, or of the pixels of a segmenter:

    ``L = τ² (β mean_i d(p_s[i, :], p_t[i, :]) + γ mean_k d(p_s[:, k], p_t[:, k]))``

    The first term compares the classes within an image (``inter``), the second the images, or all
    pixels of the batch, within a class (``intra``).

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, eq. 7-10,
    and the authors' code, hunto/image_classification_sota@6f7a70a and hunto/DIST_KD@2418f18.

    Args:
        student: Tap of logits (N, K) or of class maps (N, K, H, W).
        teacher: The same of the teacher.
        tau: Temperature τ. Defaults to 1.0.
        beta: Weight β of the inter-class term. Defaults to 1.0.
        gamma: Weight γ of the intra-class term, positive if β is 0. Defaults to 1.0.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the factor τ² is that of the authors' code for classification; the paper and their
    code for segmentation have none, which at τ = 1 is the same. On maps the student is resized to
    the teacher, and pixels with the ignore label count. Each rank correlates its own batch.
    """

    tasks = ('cls', 'seg')
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
        self.tau = positive(tau=tau)
        self.beta = non_negative(beta=beta)
        self.gamma = non_negative(gamma=gamma) if beta else positive(gamma=gamma)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the taps."""
        refuse_queries(model, student)
        logits = check_tap(student, 'student', 'logits (N, K) or (N, K, H, W)', 2, 4)
        self.check_pairs(student, teacher, ndim=logits.ndim)
        check_channels(student, teacher)
        if logits.shape[1] == 2 and self.beta:
            raise ConfigError(
                'beta',
                'must be 0 for two classes: two probabilities always correlate with ±1, so the '
                'inter-class term has no gradient',
            )

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``inter`` and ``intra``, with their weights β and γ; none of weight 0."""
        refuse_regions(student, view)
        logits = student[0]
        if logits.ndim == 2 and self.gamma and len(logits) < FEW:
            self.warn_once(
                'gamma',
                f'a batch has {len(logits)} images, and the intra-class term correlates them: two '
                f'always correlate with ±1, without a gradient; use at least {FEW} per process, or '
                'gamma=0',
            )
        target = view.simulate((teacher[0] / self.tau).softmax(1))
        if logits.ndim == 4:
            classes = logits.shape[1]
            logits = class_rows(resize_to(logits, tuple(target.shape[-2:])), classes)
            target = class_rows(target, classes)  # (N·H·W, K)
        probs = (logits / self.tau).softmax(1)
        terms = dict(inter=(self.beta, probs, target), intra=(self.gamma, probs.T, target.T))
        return {k: w * self.tau**2 * pearson_distance(s, t) for k, (w, s, t) in terms.items() if w}
