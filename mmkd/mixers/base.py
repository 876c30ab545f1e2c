"""The base class of batch mixers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import get_rank
from torch import Tensor, nn

from mmkd.mixers.samples import mix_samples
from mmkd.utils import ConfigError, step_generator
from mmkd.view import Part, View


class Mixer(nn.Module):
    """Base class of batch mixers.

    They work on the batch that the student's data preprocessor made, so that the teacher can see
    the very same augmented images unmixed. A subclass implements :meth:`draw`.

    Args:
        prob: Probability of mixing a batch. Defaults to 1.0.
        teacher_on_mixed: Show the mixed batch to the teacher instead of simulating what it would
            say from the clean one. Defaults to False.
        min_visibility: A box of which a smaller share is visible moves to ``ignored_instances``,
            so that a fragment is neither a positive nor background. Defaults to 0.3.
        num_classes: Classes of a classifier's soft labels. Defaults to None, taken from its head.
    """

    #: Whether labels of regions are exact (every pixel has one source).
    regional: bool = True
    #: Whether classifiers get soft labels.
    soft_labels: bool = True
    #: Whether its views say which images form pairs.
    pairs: bool = False

    def __init__(
        self,
        prob: float = 1.0,
        teacher_on_mixed: bool = False,
        min_visibility: float = 0.3,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        key = 'model.distill.mixer'
        if not 0 <= prob <= 1:
            raise ConfigError(f'{key}.prob', f'a probability is between 0 and 1, not {prob}')
        if not 0 <= min_visibility <= 1:
            raise ConfigError(f'{key}.min_visibility', f'is between 0 and 1, not {min_visibility}')
        self.prob = prob
        self.teacher_on_mixed = teacher_on_mixed
        self.min_visibility = min_visibility
        self.num_classes = num_classes
        #: Scalars of the last step that are logged as ``mixer.<name>``.
        self.monitored: dict[str, Tensor] = {}
        self._largest_batch = 0

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
        """Look at the models, for a mixer that learns. Called once, before training.

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
        """Learn from a clean batch, for a mixer that does. Called before :meth:`mix`.

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
            data_samples: N labelled data samples; they are not changed.
            iteration: Training iteration, which seeds the draw together with the run's seed.

        Raises:
            ConfigError: Batches of one image cannot be mixed, samples have no labels, or the
                images are smaller than the grid.
        """
        batch, (height, width) = inputs.shape[0], inputs.shape[-2:]
        self._largest_batch = max(self._largest_batch, batch)
        if self._largest_batch < 2:
            raise ConfigError(
                'train_dataloader.batch_size',
                f'{type(self).__name__} mixes images of one batch, which has {batch}; use at '
                'least 2 per process',
            )
        self.check((height, width))
        generator = step_generator(iteration, get_rank())
        # The last batch of an epoch may hold a single image; it has nothing to be mixed with.
        if float(torch.rand((), generator=generator)) >= self.prob or batch < 2:
            drawn = [(torch.arange(batch), torch.ones(batch, 1, 1, 1))]
        else:
            drawn = self.draw(batch, (height, width), generator)
        parts = [
            Part(source.to(inputs.device), weight.to(inputs).expand(batch, 1, height, width))
            for source, weight in drawn
        ]
        if self.regional:
            parts = keep_padding(parts, data_samples)
        mixed = sum(part.weight * inputs[part.source] for part in parts)
        samples = mix_samples(
            data_samples, parts, self.regional, self.min_visibility, self.num_classes
        )
        if len(parts) == 1:  # not mixed, but soft labels are needed in every batch
            return View(inputs, samples, inputs, data_samples)
        if self.teacher_on_mixed:
            return View(mixed, samples, mixed, samples, parts, True, self.regional)
        return View(mixed, samples, inputs, data_samples, parts, False, self.regional)


def keep_padding(parts: list[Part], data_samples: Any) -> list[Part]:
    """Give pixels that are padding, in the image or in its source, back to the image itself.

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
