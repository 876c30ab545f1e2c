"""Instance-to-instance distillation between the two members of a pair."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import region_means
from mmkd.methods.base import Method
from mmkd.methods.classification import check_class_channels, check_tap
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, integer, one_of, positive
from mmkd.view import Pairs, View

# A box is read at the level whose stride is nearest to a quarter of its side, as for anchors.
CELLS = 4.0


def pair_divergence(
    first: Tensor,
    second: Tensor,
    first_teaches: Tensor | None = None,
    tau: float = 1.0,
    detach: bool = True,
) -> Tensor:
    """Divergence of the two distributions of every pair, scaled by τ², mean over the pairs.

    Symmetric: ``τ² · ½ [KL(sg(p_2) || p_1) + KL(sg(p_1) || p_2)]``; sg stops the gradient. With
    ``first_teaches`` one member is the target of the other: ``τ² · KL(sg(p_target) || p_other)``.

    Args:
        first: Log-probabilities (P, D) at temperature τ. D is K, or 2 K for K binary ones, whose
            divergences add up.
        second: The same for the partners.
        first_teaches: Whether the first member of a pair is the target (P,), bool. Defaults to
            None, symmetric.
        tau: Temperature. Defaults to 1.0.
        detach: Whether targets get no gradient. Defaults to True.

    Returns:
        Scalar; 0 where both are equal, and where there is no pair.
    """
    if first_teaches is None:
        divergence = (kl_rows(second, first, detach) + kl_rows(first, second, detach)) / 2
    else:
        chosen = first_teaches[:, None]
        target, estimate = torch.where(chosen, first, second), torch.where(chosen, second, first)
        divergence = kl_rows(target, estimate, detach)
    return divergence.sum() / max(len(first), 1) * tau**2


def kl_rows(target: Tensor, estimate: Tensor, detach: bool) -> Tensor:
    """KL(target || estimate) of every row (P,), from log-probabilities (P, D)."""
    target = target.detach() if detach else target
    return (target.exp() * (target - estimate)).sum(1)


def log_distributions(logits: Tensor, tau: float, activation: str) -> Tensor:
    """Return log-probabilities of logits (P, K): (P, K), or (P, 2 K) with one sigmoid per class."""
    logits = logits / tau
    if activation == 'softmax':
        return F.log_softmax(logits, 1)
    return torch.cat([F.logsigmoid(logits), F.logsigmoid(-logits)], 1)


def label_error(log_probs: Tensor, labels: Tensor, activation: str) -> Tensor:
    """Return the cross-entropy (P,) of :func:`log_distributions` with the labels (P,).

    With one sigmoid per class it is the sum of the binary cross-entropies.
    """
    picked = log_probs.gather(1, labels[:, None])[:, 0]
    if activation == 'softmax':
        return -picked
    absent = log_probs[:, log_probs.shape[1] // 2 :]
    return -picked - absent.sum(1) + absent.gather(1, labels[:, None])[:, 0]


def box_means(features: Tensor, images: Tensor, boxes: Tensor, points: int = 4) -> Tensor:
    """Mean of a map inside boxes, by RoIAlign.

    Args:
        features: Map (N, C, H, W).
        images: Image (P,) of every box.
        boxes: Boxes (P, 4) as x1, y1, x2, y2 in cells; the center of cell 0 is at 0.5.
        points: Bilinear samples per side, at the centers of equal parts of a box. Defaults to 4.

    Returns:
        Means (P, C).
    """
    from mmcv.ops import roi_align  # compiled, and for detectors only

    rois = torch.cat([images[:, None].to(boxes), boxes], 1).to(features)
    return roi_align(features, rois, 1, 1.0, points, 'avg', True).flatten(1)


@MODELS.register_module()
class InstanceKD(Method):
    """Pull the student's distributions of the two members of a pair together, without a teacher.

    ``L = τ² · ½ [KL(sg(p_b) || p_a) + KL(sg(p_a) || p_b)]``, mean over the pairs, from one forward
    pass of both. Use it with ``mixer=dict(type='mmkd.PatchSwap', …)``, which forms the pairs and
    makes one member easier and the other one harder.

    Source: Choi et al., "Intra-class Patch Swap for Self-Distillation", Neurocomputing 645, 2025.

    Args:
        student: Tap of logits: ``head.fc`` (N, K), ``decode_head.conv_seg`` (N, K, H, W), or the
            class maps (N, A·K, H, W) of a dense detection head, such as ``bbox_head.retina_cls``.
        tau: Temperature. Defaults to 4.0.
        direction: ``'symmetric'``, or ``'easy_to_hard'``: the member with the smaller
            cross-entropy is the target of the other one. Defaults to ``'symmetric'``.
        detach: Whether targets get no gradient. Defaults to True.
        activation: ``'softmax'``, or ``'sigmoid'`` for heads with one sigmoid per class, whose
            divergences add up. Defaults to ``'softmax'``.
        num_classes: Classes K of a dense head, whose maps hold A·K channels. Defaults to None: all
            channels are classes.
        points: Samples per side of a box. Defaults to 4.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the paper's temperature, weight, directions and stop-gradient were not available;
    the defaults are ours. The paper compares whole images. For dense tasks we compare:

    - Segmentation: for every class that both images of a pair show, the mean distribution over the
      pixels of that class in each image; the label map is sampled at the centers of the cells.
    - Detection: the logits averaged over the anchors and over a grid of bilinear samples inside
      each object's box, at the level whose stride is nearest to a quarter of the box's side.
    """

    mixers = 'pairs'

    def __init__(
        self,
        student: Any,
        tau: float = 4.0,
        direction: str = 'symmetric',
        detach: bool = True,
        activation: str = 'softmax',
        num_classes: int | None = None,
        points: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, **kwargs)
        self.tau = positive(tau=tau)
        self.direction = one_of(('symmetric', 'easy_to_hard'), direction=direction)
        self.detach = detach
        self.activation = one_of(('softmax', 'sigmoid'), activation=activation)
        self.num_classes = integer(1, optional=True, num_classes=num_classes)
        self.points = integer(1, points=points)
        if self.teacher_taps:
            raise ConfigError('teacher', 'InstanceKD has no teacher: remove it')

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the shapes."""
        pyramid = isinstance(student, list) and len(student) > 1
        what = 'logits (N, K), or of maps of logits (N, K, H, W)'
        for tensors in [[x] for x in student] if pyramid else [student]:
            check_tap(tensors, 'student', what, *((4,) if pyramid else (2, 4)))
        check_class_channels(student, self.num_classes)

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``pair``, the mean over the pairs; 0 if there is none."""
        # Of every pair: log-probabilities at a temperature, and the class of both members.
        first, second, labels = self._distributions(student, view, self.tau)
        easier = None
        if self.direction == 'easy_to_hard':
            with torch.no_grad():
                logs = self._distributions(student, view, 1.0)[:2]
                errors = [label_error(log, labels, self.activation) for log in logs]
                easier = errors[0] < errors[1]
        loss = pair_divergence(first, second, easier, self.tau, self.detach)
        self.monitored = dict(pairs=loss.new_tensor(float(len(first))))
        return dict(pair=loss)

    def _distributions(
        self, student: list[Tensor], view: View, tau: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-probabilities of both members and the class of every pair."""
        pairs: Pairs = view.pairs  # type: ignore[assignment]
        first, second = pairs.images.unbind(1)
        if pairs.boxes is not None:
            logits = [self._object_logits(student, view, side) for side in (0, 1)]
            logs = [log_distributions(z, tau, self.activation) for z in logits]
            assert pairs.labels is not None
            return logs[0], logs[1], pairs.labels
        if student[0].ndim == 2:
            log = log_distributions(student[0], tau, self.activation)
            labels = torch.cat([sample.gt_label.reshape(1) for sample in view.data_samples])
            return log[first], log[second], labels[first]
        return self._common_classes(student[0], view, tau)

    def _common_classes(
        self, logits: Tensor, view: View, tau: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-probabilities (P, K) twice and classes (P,) of a map (N, K, H, W).

        P counts the classes that appear in both images of a pair.
        """
        one_of(('softmax',), activation=self.activation)
        maps = torch.stack([sample.gt_sem_seg.data for sample in view.data_samples])  # (N,1,H,W)
        size = (logits.shape[-2], logits.shape[-1])
        labels = F.interpolate(maps.float(), size, mode='nearest-exact')[:, 0].long()
        means, pixels = region_means((logits / tau).softmax(1), labels, logits.shape[1])
        pairs: Pairs = view.pairs  # type: ignore[assignment]
        first, second = pairs.images.unbind(1)
        pair, label = (pixels[first] * pixels[second]).nonzero(as_tuple=True)
        log = means.clamp(min=torch.finfo(means.dtype).tiny).log()
        return log[first[pair], label], log[second[pair], label], label

    def _object_logits(self, student: list[Tensor], view: View, side: int) -> Tensor:
        """Return the mean logits (P, K) inside the boxes of one member of every pair."""
        pairs: Pairs = view.pairs  # type: ignore[assignment]
        assert pairs.boxes is not None
        boxes = pairs.boxes[:, side].to(student[0])
        height, width = view.inputs.shape[-2:]
        strides = student[0].new_tensor([height / level.shape[-2] for level in student])
        sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=1).sqrt()
        distance = (sides[:, None] / CELLS).log2() - strides.log2()  # (P, L)
        fitting = distance.abs().argmin(1)
        found = []
        for level in student:
            classes = self.num_classes or level.shape[1]
            scale = boxes.new_tensor([level.shape[-1] / width, level.shape[-2] / height]).repeat(2)
            means = box_means(level, pairs.images[:, side], boxes * scale, self.points)
            anchors = level.shape[1] // classes
            found.append(means.reshape(len(means), anchors, classes).mean(1))
        return torch.stack(found)[fitting, torch.arange(len(boxes), device=boxes.device)]
