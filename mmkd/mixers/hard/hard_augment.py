"""Hard augmentation: images on which student and teacher disagree, learned while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_rank
from torch import Tensor, nn

from mmkd.functional.logits import disagreement
from mmkd.mixers.base import Mixer
from mmkd.mixers.hard import Augmentor
from mmkd.mixers.hard.logit_pair import LogitPair
from mmkd.mixers.hard.moved_labels import move_labels
from mmkd.registry import MODELS, build
from mmkd.utils import ConfigError, step_generator
from mmkd.utils.side_learner import SideLearner
from mmkd.view import View

KEY = 'model.distill.mixer'
ADAM = dict(type='Adam', lr=1e-3)


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
        interval: The augmentor has a turn every so many iterations. Defaults to 4.
        confidence: ρ, which keeps the teacher sure of the labels; for image logits. Defaults to 0.
        optimizer: Config of the augmentor's optimizer. Defaults to Adam, lr 0.001; None freezes
            the augmentor.

    Raises:
        ConfigError: An argument is out of range, or the augmentor cannot be built.

    Deviations: only the abstract is known to us; the game, its thresholds and the families are
    reconstructed. The paper's student learns from x and g(x) in every step; here each image is one
    or the other, which costs nothing and has the same expectation at ``prob=0.5``. The student's
    own loss sees the augmented images with their labels. It is trained while the augmentor learns,
    too, so that every run has the same number of student steps.
    """

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
        if not tau > 0:
            raise ConfigError(f'{KEY}.tau', f'a temperature is positive, not {tau}')
        if type(interval) is not int or interval < 1:
            raise ConfigError(f'{KEY}.interval', f'is a whole number from 1 on, not {interval!r}')
        if not confidence >= 0:
            raise ConfigError(f'{KEY}.confidence', f'is at least 0, not {confidence}')
        if thresholds is not None:
            bounds = tuple(thresholds)
            if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1]:
                raise ConfigError(f'{KEY}.thresholds', f'is (l_min, l_max), not {thresholds}')
        self.tau = tau
        self.thresholds = thresholds
        self.interval = interval
        self.confidence = confidence
        built: Augmentor = build(augmentor, Augmentor, f'{KEY}.augmentor')
        self.soft_labels = built.mixes
        self.learner = SideLearner(built, optimizer, key=f'{KEY}.optimizer')
        self.logits = LogitPair(student, teacher, KEY)
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
        """Let the augmentor have its turn; see the base class.

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
            apart = disagreement(own, other, self.tau).mean()
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
        """Return whose turn it is."""
        return dict(learning=self.learning)

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore whose turn it is."""
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
        f'{KEY}.confidence', 'needs class labels of images; set it to 0 for pixels and without'
    )
