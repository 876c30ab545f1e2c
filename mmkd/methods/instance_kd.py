"""Instance-to-instance distillation between the two members of a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import (
    box_means,
    class_means,
    label_error,
    log_distributions,
    pair_divergence,
)
from mmkd.methods.base import Method, Tensors
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import Pairs, View

# A box goes to the level whose stride is nearest to a quarter of its side, as anchors do.
CELLS = 4.0


@MODELS.register_module()
class InstanceKD(Method):
    """Pull what a student says of the two members of a pair together, without a teacher.

    ``L = τ² · ½ [KL(sg(p_b) || p_a) + KL(sg(p_a) || p_b)]``, mean over the pairs, from one forward
    pass of both. Use it with ``mixer=dict(type='mmkd.PatchSwap', …)``, which makes one member of
    a pair easier and the other one harder, and says what forms a pair.

    Source: Choi et al., "Intra-class Patch Swap for Self-Distillation", Neurocomputing 645, 2025.

    Args:
        student: Tap of logits: ``head.fc`` (N, K), ``decode_head.conv_seg`` (N, K, H, W), or the
            class maps (N, A·K, H, W) of a dense detection head, such as ``bbox_head.retina_cls``.
        tau: Temperature. Defaults to 4.0.
        direction: ``'symmetric'``, or ``'easy_to_hard'``: the member with the smaller
            cross-entropy teaches the other one. Defaults to ``'symmetric'``.
        detach: Whether what teaches gets no gradient. Defaults to True.
        activation: ``'softmax'``, or ``'sigmoid'`` for heads with one sigmoid per class, whose
            divergences add up. Defaults to ``'softmax'``.
        num_classes: Classes K of a dense head, whose maps hold A·K channels. Defaults to None: all
            channels are classes.
        points: Samples per side of a box. Defaults to 4.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the paper's temperature, weight, directions and stop-gradient are not known to us;
    the defaults are ours. Its distributions are those of whole images. Ours are:

    - Segmentation: for every class that both images of a pair show, the mean distribution over the
      pixels of that class in each image; the label map is sampled at the centres of the cells.
    - Detection: the logits averaged over the anchors and over a grid of bilinear samples inside
      each object's box, at the level whose stride is nearest to a quarter of the box's side.
    """

    grows = True

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
        self.tau = tau
        self.direction = direction
        self.detach = detach
        self.activation = activation
        self.num_classes = num_classes
        self.points = points
        if self.teacher_taps:
            raise ConfigError('teacher', 'InstanceKD has no teacher: pairs teach each other')
        if not self.student_taps or isinstance(self.student_taps, dict):
            raise ConfigError('student', 'is a tap of logits')
        if self.direction not in ('symmetric', 'easy_to_hard'):
            raise ConfigError('direction', "use 'symmetric' or 'easy_to_hard'")
        if self.activation not in ('softmax', 'sigmoid'):
            raise ConfigError('activation', "use 'softmax' or 'sigmoid'")
        if not self.tau > 0:
            raise ConfigError('tau', f'a temperature is positive, not {self.tau}')
        if self.points < 1:
            raise ConfigError('points', f'is at least 1, not {self.points}')

    def build(
        self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Mapping[str, Any]
    ) -> None:
        """Check the shapes."""
        for tensor in student:
            shape = tuple(tensor.shape)  # type: ignore[union-attr]
            if len(shape) not in (2, 4) or (len(shape) == 2 and len(student) > 1):
                raise ConfigError(
                    'student',
                    f'is a tap of logits (N, K), or of maps of logits; this one is {shape}',
                )
            if self.num_classes and shape[1] % self.num_classes:
                raise ConfigError(
                    'num_classes',
                    f'{shape[1]} channels are no multiple of {self.num_classes} classes',
                )

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``pair``, the mean over the pairs; 0 where there is none."""
        # Of every pair: log-probabilities at a temperature, and the class of both members.
        first, second, labels = self.distributions(student, view, self.tau)
        easier = None
        if self.direction == 'easy_to_hard':
            with torch.no_grad():
                logs = self.distributions(student, view, 1.0)[:2]
                errors = [label_error(log, labels, self.activation) for log in logs]
                easier = errors[0] < errors[1]
        loss = pair_divergence(first, second, easier, self.tau, self.detach)
        self.monitored = dict(pairs=loss.new_tensor(float(len(first))))
        return dict(pair=loss)

    def distributions(
        self, student: list[Tensor], view: View, tau: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-probabilities of both members and the class of every pair."""
        pairs: Pairs = view.pairs  # type: ignore[assignment]
        first, second = pairs.images.unbind(1)
        if pairs.boxes is not None:
            logits = [self.object_logits(student, view, side) for side in (0, 1)]
            logs = [log_distributions(z, tau, self.activation) for z in logits]
            assert pairs.labels is not None
            return logs[0], logs[1], pairs.labels
        if student[0].ndim == 2:
            log = log_distributions(student[0], tau, self.activation)
            labels = torch.cat([sample.gt_label.reshape(1) for sample in view.data_samples])
            return log[first], log[second], labels[first]
        return self.common_classes(student[0], view, tau)

    def common_classes(
        self, logits: Tensor, view: View, tau: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the distributions of the classes that both images of a pair show.

        Args:
            logits: Map (N, K, H, W).
            view: A view whose samples have label maps.
            tau: Temperature.

        Returns:
            Log-probabilities (P, K) twice, and classes (P,), of P pairs of image and class.
        """
        if self.activation != 'softmax':
            raise ConfigError('activation', "is 'softmax' for label maps")
        maps = torch.stack([sample.gt_sem_seg.data for sample in view.data_samples])  # (N,1,H,W)
        size = (logits.shape[-2], logits.shape[-1])
        labels = F.interpolate(maps.float(), size, mode='nearest-exact')[:, 0].long()
        means, shown = class_means((logits / tau).softmax(1), labels)
        pairs: Pairs = view.pairs  # type: ignore[assignment]
        first, second = pairs.images.unbind(1)
        pair, label = (shown[first] & shown[second]).nonzero(as_tuple=True)
        least = torch.finfo(means.dtype).tiny
        log = means.clamp(min=least).log()
        return log[first[pair], label], log[second[pair], label], label

    def object_logits(self, student: list[Tensor], view: View, side: int) -> Tensor:
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
        every = torch.arange(len(boxes), device=boxes.device)
        return torch.stack(found)[fitting, every]
