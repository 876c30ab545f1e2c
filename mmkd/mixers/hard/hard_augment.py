"""Hard augmentation: images on which student and teacher disagree, learned while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_rank
from mmengine.structures import PixelData
from torch import Tensor, nn

from mmkd.functional import softmax_kl
from mmkd.mixers.base import Mixer
from mmkd.mixers.hard.affine import move_map
from mmkd.mixers.hard.augmentors import Augmented, Augmentor
from mmkd.mixers.hard.logit_pair import LogitPair
from mmkd.mixers.samples import mix_samples
from mmkd.registry import MODELS, build
from mmkd.utils import ConfigError, integer, non_negative, positive, step_generator
from mmkd.utils.side_learner import SideLearner
from mmkd.view import Part, View

ADAM = dict(type='Adam', lr=1e-3)


def disagreement(student_logits: Tensor, teacher_logits: Tensor, tau: float) -> Tensor:
    """Mean of ``τ² KL(teacher || student)``, with gradients to both sides.

    Args:
        student_logits: Logits (N, K) or (N, K, H, W).
        teacher_logits: The same of the teacher.
        tau: Temperature τ.

    Returns:
        Scalar; 0 where the student equals the teacher.
    """
    log_teacher = F.log_softmax(teacher_logits / tau, dim=1)
    return softmax_kl(student_logits / tau, log_teacher, 1, is_log=True).mean() * tau**2


@MODELS.register_module()
class HardAugment(Mixer):
    """Replace images by ``g_φ(x, ε)``, learned so that student and teacher disagree on them.

    Both models see the augmented images. The student learns to agree by whatever methods are
    configured; the augmentor learns, by an optimizer of its own, to raise

    ``τ² KL(softmax(t(g(x)) / τ) || softmax(s(g(x)) / τ)) - ρ CE(t(g(x)), y)``.

    With ``thresholds=(l_min, l_max)`` the augmentor learns until the disagreement exceeds l_max,
    then pauses until the student has brought it below l_min, and so on.

    Source: Nix, Burg and Sinz, "Hard Augmentations for Robust Distillation", 2023.

    Args:
        augmentor: Config of the family: :class:`~mmkd.mixers.hard.AffineAugmentor`,
            :class:`~mmkd.mixers.hard.MixtureAugmentor`, :class:`~mmkd.mixers.hard.VAEAugmentor`.
        student: Tap of the student's logits, (N, K) or (N, K, H, W), such as ``'head.fc'``.
        teacher: The same of the teacher.
        tau: Temperature τ of the disagreement. Defaults to 4.0.
        prob: Share of the images of a batch that are augmented. Defaults to 0.5.
        thresholds: ``(l_min, l_max)`` in the units of :class:`~mmkd.methods.logit_kd.LogitKD`'s
            loss at the same temperature. Defaults to None, no pauses.
        interval: The augmentor is updated every so many iterations. Defaults to 4.
        confidence: ρ, the weight of the teacher's cross-entropy; for image logits. Defaults to 0.
        optimizer: Config of the augmentor's optimizer. Defaults to Adam, lr 0.001; None freezes
            the augmentor.

    Raises:
        ConfigError: An argument is out of range, or the augmentor cannot be built.

    Deviations: only the abstract was available to us; the game, its thresholds and the families are
    reconstructed. The paper's student learns from x and g(x) in every step; here each image is one
    or the other, which costs nothing and has the same expectation at ``prob=0.5``. The student's
    own loss sees the augmented images with their labels. It is trained while the augmentor learns,
    too, so that every run has the same number of student steps.
    """

    tasks = ('cls', 'seg')
    regional = False

    def __init__(
        self,
        augmentor: Mapping[str, Any],
        student: Any,
        teacher: Any,
        tau: float = 4.0,
        prob: float = 0.5,
        thresholds: tuple[float, float] | None = None,
        interval: int = 4,
        confidence: float = 0.0,
        optimizer: Mapping[str, Any] | None = ADAM,
    ) -> None:
        super().__init__(prob=prob, teacher_on_mixed=True)
        self.tau = positive(tau=tau)
        self.interval = integer(1, interval=interval)
        self.confidence = non_negative(confidence=confidence)
        if thresholds is not None:
            bounds = tuple(thresholds)
            if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1]:
                raise ConfigError(
                    'thresholds', f'must be (l_min, l_max) with 0 <= l_min < l_max, got {bounds}'
                )
        self.thresholds = thresholds
        built: Augmentor = build(augmentor, Augmentor, 'augmentor')
        self.soft_labels = built.mixes
        self.learner = SideLearner(built, optimizer, key='optimizer')
        self.logits = LogitPair(student, teacher)
        #: Whether the augmentor learns, or pauses until the student has caught up.
        self.learning = True

    def build(
        self, student: nn.Module, teachers: Mapping[str, Any], probe_size: tuple[int, int]
    ) -> None:
        """Resolve the taps; see the base class."""
        self.logits.build(student, teachers, probe_size)

    def learn(
        self, student: nn.Module, inputs: Tensor, data_samples: Any, iteration: int = 0
    ) -> None:
        """Update the augmentor; see the base class.

        Raises:
            ConfigError: There are no labels for ``confidence``.
        """
        if self.learner.optimizer is None or iteration % self.interval:
            return
        generator = step_generator(iteration, get_rank(), salt=1)
        learning = self.learning
        with (
            torch.set_grad_enabled(learning),
            torch.autocast(inputs.device.type, enabled=False),
        ):
            augmented = self.learner(inputs.float(), generator)
            own, other = self.logits(student, augmented.images, data_samples)
            apart = disagreement(own, other, self.tau)
            if learning:
                gain = apart
                if self.confidence:
                    samples, _ = move_labels(data_samples, augmented, self.num_classes)
                    gain = apart - self.confidence * F.cross_entropy(other, targets(samples, other))
                self.learner.step(-gain)
        value = apart.detach()
        all_reduce(value, op='mean')
        if self.thresholds is not None:
            lowest, highest = self.thresholds
            self.learning = bool(value <= highest) if learning else bool(value < lowest)
        self.monitored = dict(
            disagreement=value,
            learning=torch.tensor(float(learning), device=value.device),
            **self.learner.module.strengths(),
        )

    @torch.no_grad()
    def mix(self, inputs: Tensor, data_samples: Any, iteration: int = 0) -> View:
        """Return the view of one step; see the base class.

        Raises:
            ConfigError: The labels cannot be moved along.
        """
        generator = step_generator(iteration, get_rank())
        hard = (torch.rand(len(inputs), generator=generator) < self.prob).to(inputs.device)
        with torch.autocast(inputs.device.type, enabled=False):
            augmented = self.learner(inputs.float(), generator)
        augmented = augmented.where(hard, inputs)
        samples, parts = move_labels(data_samples, augmented, self.num_classes)
        self.monitored['change'] = (augmented.images - inputs).abs().mean()
        images = augmented.images
        return View(images, samples, images, samples, parts, True, False, hard=hard)

    def get_extra_state(self) -> dict[str, Any]:
        """Return whether the augmentor is learning."""
        return dict(learning=self.learning)

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore whether the augmentor is learning."""
        self.learning = state['learning']


def targets(samples: Any, logits: Tensor) -> Tensor:
    """Return the soft or hard labels of images.

    Raises:
        ConfigError: The logits are those of pixels, or there are no labels.
    """
    first = samples[0] if samples else {}
    if logits.ndim == 2 and 'gt_score' in first:
        return torch.stack([sample.gt_score for sample in samples]).to(logits)
    if logits.ndim == 2 and 'gt_label' in first:
        return torch.cat([sample.gt_label for sample in samples]).to(logits.device)
    raise ConfigError(
        'confidence', 'needs class labels of images; set it to 0 for pixels or without labels'
    )


def move_labels(
    samples: Any, augmented: Augmented, num_classes: int | None
) -> tuple[Any, list[Part]]:
    """Return the labels of augmented images; the given samples are not changed.

    Labels of images stay, or become soft where another image is mixed in. Label maps are sampled
    like their images, at the nearest pixel; what comes from outside is ignored (255), and where
    images are mixed the stronger one keeps its labels.

    Args:
        samples: N data samples of the clean batch.
        augmented: What was done to the images.
        num_classes: Classes of soft labels; None takes it from the samples.

    Returns:
        The samples, and how the images are mixed; empty where none is.

    Raises:
        ConfigError: The samples hold boxes and their images have moved or are mixed.
    """
    share, partner = augmented.share, augmented.partner
    first = samples[0] if samples else {}
    if 'gt_instances' in first and (augmented.matrices is not None or share is not None):
        raise ConfigError(
            'augmentor',
            'boxes are not moved along with learned transforms; for detection use a bank without '
            'affine and blend, or mmkd.PatchMix, mmkd.CutMix, mmkd.MixUp',
        )
    parts = []
    if share is not None and partner is not None and bool(share.any()):
        own = torch.arange(len(share), device=share.device)
        size = augmented.images.shape[-2:]
        weight = share.detach()[:, None, None, None].expand(-1, 1, *size)
        parts = [Part(own, 1 - weight), Part(partner, weight)]
        samples = mix_samples(samples, parts, False, 0.0, num_classes)
    if augmented.matrices is not None and 'gt_sem_seg' in first:
        samples = [s.new() for s in samples]
        for sample, matrix in zip(samples, augmented.matrices):
            labels = sample.gt_sem_seg.data  # (1, H, W)
            sample.gt_sem_seg = PixelData(data=move_map(labels, matrix))
    return samples, parts
