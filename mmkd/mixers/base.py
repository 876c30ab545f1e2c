"""The base class of batch mixers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import get_rank
from torch import Tensor, nn

from mmkd.mixers.samples import mix_samples
from mmkd.utils import ConfigError, log_warning, one_of, probability, step_generator
from mmkd.view import Pairs, Part, View

PATIENCE = 100  # batches that may stay as they are


class Mixer(nn.Module):
    """Base class of batch mixers: ``draw -> parts -> view``.

    A mixer works on the batch that the student's data preprocessor made, so that the teacher can
    see the same augmented images unmixed. A subclass implements :meth:`draw` and checks its
    arguments in ``__init__``; keys of errors are relative, as in
    :class:`~mmkd.methods.base.Method`.

    Args:
        prob: Probability of mixing a batch. Defaults to 1.0.
        teacher_on_mixed: Show the mixed batch to the teacher instead of simulating its features
            from the clean one. Defaults to False.
        min_visibility: A box of which a smaller share is visible moves to ``ignored_instances``,
            so that a fragment is neither a positive nor background. Defaults to 0.3.
        num_classes: Classes of a classifier's soft labels. Defaults to None, taken from its head.
        task_on: Images of the student's own loss in a step that mixes. ``'mixed'``; ``'clean'``:
            the clean images with their own labels, so that the mixed ones enter the distillation
            losses alone; ``'both'``: the mean of the two losses. The last two take a second
            forward and backward pass of the student. Defaults to ``'mixed'``.
    """

    #: Tasks that the mixer is for.
    tasks: tuple[str, ...] = ('cls', 'det', 'seg')
    #: Whether labels of regions are exact (every pixel has one source).
    regional: bool = True
    #: Whether classifiers get soft labels.
    soft_labels: bool = True
    #: Whether its views name pairs of images.
    pairs: bool = False

    def __init__(
        self,
        prob: float = 1.0,
        teacher_on_mixed: bool = False,
        min_visibility: float = 0.3,
        num_classes: int | None = None,
        task_on: str = 'mixed',
    ) -> None:
        super().__init__()
        self.prob = probability(prob=prob)
        self.teacher_on_mixed = teacher_on_mixed
        self.min_visibility = probability(min_visibility=min_visibility)
        self.num_classes = num_classes
        self.task_on = one_of(('mixed', 'clean', 'both'), task_on=task_on)
        #: Scalars of the last step that are logged as ``mixer.<name>``.
        self.monitored: dict[str, Tensor] = {}
        self._largest_batch = 0
        self._drawn = False  # whether a draw has been checked
        self._unmixed: int | None = 0  # batches so far; None once one has been mixed

    def draw(
        self, batch: int, size: tuple[int, int], generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Draw how a batch is mixed.

        Args:
            batch: Number of images N.
            size: Height and width of the padded batch.
            generator: CPU generator of this step.

        Returns:
            Pairs of a source index (N,) and a weight that broadcasts to (N, 1, H, W). The first
            source of every image is itself; the weights sum to one.
        """
        raise NotImplementedError

    def check(self, size: tuple[int, int]) -> None:
        """Raise a :class:`~mmkd.utils.ConfigError` if images of this size cannot be mixed."""

    def build(
        self, student: nn.Module, teachers: Mapping[str, Any], probe_size: tuple[int, int]
    ) -> None:
        """Read the models, for a mixer that learns. Called once, before training.

        Args:
            student: The student.
            teachers: The teachers by name (``''`` for a single one).
            probe_size: Height and width of a small batch.

        Raises:
            ConfigError: The mixer cannot work with them.
        """

    def learn(
        self, student: nn.Module, inputs: Tensor, data_samples: Any, iteration: int = 0
    ) -> None:
        """Learn from a clean batch, for a mixer that learns. Called before :meth:`mix`.

        Args:
            student: The student.
            inputs: As in :meth:`mix`.
            data_samples: As in :meth:`mix`.
            iteration: As in :meth:`mix`.
        """

    @torch.no_grad()
    def mix(self, inputs: Tensor, data_samples: Any, iteration: int = 0) -> View:
        """Return the view of one step.

        Args:
            inputs: Clean batch (N, 3, H, W).
            data_samples: N labeled data samples; they are not changed.
            iteration: Training iteration, which seeds the draw together with the run's seed.

        Raises:
            ConfigError: Batches of one image cannot be mixed, samples have no labels, or the
                images are smaller than the grid.
        """
        self.check_batch(len(inputs))
        self.check((inputs.shape[-2], inputs.shape[-1]))
        parts = self.parts(inputs, data_samples, step_generator(iteration, get_rank()))
        return self.view(inputs, data_samples, parts)

    def watch(self, view: View) -> None:
        """Warn once if the mixer mixes nothing: at once where it cannot, else after many batches.

        Args:
            view: The view of a step.
        """
        if self._unmixed is None or (self.pairs and not self.prob):
            return  # pairs that stay as they are
        mixed = len(view.parts) > 1 or bool(self.prob and view.hard is not None)
        self._unmixed = None if mixed else self._unmixed + 1
        if not mixed and (not self.prob or self._unmixed == PATIENCE):
            log_warning(
                f'model.distill.mixer: {type(self).__name__} has mixed none of the first '
                f'{self._unmixed} batches (prob={self.prob}); remove it, raise prob, or use '
                'batches whose images can be mixed'
            )
            self._unmixed = None

    def check_batch(self, batch: int) -> None:
        """Refuse batches of one image; only the last one of an epoch may be that small."""
        self._largest_batch = max(self._largest_batch, batch)
        if self._largest_batch < 2:
            raise ConfigError(
                'train_dataloader.batch_size',
                f'{type(self).__name__} mixes images of one batch, which has {batch}; use at '
                'least 2 per process',
            )

    def parts(self, inputs: Tensor, data_samples: Any, generator: torch.Generator) -> list[Part]:
        """Return how a batch is mixed; a single part where it is not.

        Args:
            inputs: As in :meth:`mix`.
            data_samples: As in :meth:`mix`.
            generator: CPU generator of this step.
        """
        batch, size = len(inputs), (inputs.shape[-2], inputs.shape[-1])
        # The last batch of an epoch may hold a single image.
        if float(torch.rand((), generator=generator)) >= self.prob or batch < 2:
            drawn = [(torch.arange(batch), torch.ones(batch, 1, 1, 1))]
        else:
            drawn = self.draw(batch, size, generator)
            if not self._drawn:
                check_draw(drawn, batch)
                self._drawn = True
        parts = [
            Part(source.to(inputs.device), weight.to(inputs).expand(batch, 1, *size))
            for source, weight in drawn
        ]
        return keep_padding(parts, data_samples) if self.regional else parts

    def view(
        self, inputs: Tensor, data_samples: Any, parts: list[Part], pairs: Pairs | None = None
    ) -> View:
        """Mix images and labels.

        Args:
            inputs: As in :meth:`mix`.
            data_samples: As in :meth:`mix`.
            parts: How the batch is mixed.
            pairs: Pairs of images for the view. Defaults to None.
        """
        mixed = sum(part.weight * inputs[part.source] for part in parts)
        samples = mix_samples(
            data_samples,
            parts,
            self.regional,
            self.min_visibility,
            self.num_classes,
            self.soft_labels,
        )
        if len(parts) == 1:  # not mixed, but soft labels are needed in every batch
            return View(inputs, samples, inputs, data_samples)
        if self.teacher_on_mixed:
            return View(mixed, samples, mixed, samples, parts, True, self.regional, pairs)
        return View(mixed, samples, inputs, data_samples, parts, False, self.regional, pairs)


def check_draw(drawn: Any, batch: int) -> None:
    """Check the first draw of a mixer.

    Raises:
        ConfigError: The first source is not the image itself, a weight is no mask, or the weights
            do not sum to one.
    """
    for _, weight in drawn:
        if weight.ndim not in (0, 4):
            raise ConfigError(
                '',
                'a weight that draw() returns must broadcast to (N, 1, H, W), got shape '
                f'{tuple(weight.shape)}',
            )
    first = drawn[0][0]
    if not torch.equal(first, torch.arange(batch)):
        raise ConfigError(
            '',
            'the first source that draw() returns must be each image itself, '
            f'torch.arange({batch}), got {first.tolist()}',
        )
    total = sum(weight for _, weight in drawn)
    low, high = float(total.min()), float(total.max())
    if abs(low - 1) > 1e-4 or abs(high - 1) > 1e-4:
        raise ConfigError(
            '',
            'the weights that draw() returns must sum to one at every pixel, got sums from '
            f'{low:.3g} to {high:.3g}',
        )


def beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw (count,) values from Beta(α, α) with a generator, which torch.distributions cannot."""
    concentration = torch.full((count, 2), float(alpha))
    gamma = torch._standard_gamma(concentration, generator=generator)
    return gamma[:, 0] / gamma.sum(1)


def partners(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw source tables (N, count): column 0 is the image itself, the others are derangements.

    The columns are steps along one random cyclic order of the batch. As long as ``count`` ≤ N no
    image is paired with itself, or with another one twice.
    """
    order = torch.randperm(batch, generator=generator)
    position = order.argsort()
    return torch.stack([order[(position + k) % batch] for k in range(count)], 1)


def keep_padding(parts: list[Part], data_samples: Any) -> list[Part]:
    """Return pixels that are padding, in the image or in its source, to the image itself.

    Images of a batch are padded to a common size; without this a patch of padding would become
    content, and content would cover padding.
    """
    height, width = parts[0].weight.shape[-2:]
    device = parts[0].weight.device
    shapes = [
        getattr(s, 'metainfo', {}).get('img_shape', (height, width)) for s in data_samples or []
    ]
    if all(tuple(shape[:2]) == (height, width) for shape in shapes):
        return parts
    sizes = torch.tensor([shape[:2] for shape in shapes], device=device)  # (N, 2)
    ys = torch.arange(height, device=device)[None, :, None] < sizes[:, 0, None, None]
    xs = torch.arange(width, device=device)[None, None] < sizes[:, 1, None, None]
    inside = (ys & xs)[:, None].to(parts[0].weight)  # (N, 1, H, W)
    others = [Part(p.source, p.weight * inside * inside[p.source]) for p in parts[1:]]
    rest = 1 - sum((p.weight for p in others), torch.zeros_like(inside))
    return [Part(parts[0].source, rest), *others]
