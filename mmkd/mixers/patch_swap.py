"""Intra-class patch swap: the two images of a pair exchange patches."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_rank
from torch import Tensor

from mmkd.mixers.base import Mixer, keep_padding
from mmkd.mixers.patch_swap_dense import common_cells, draw_object_pairs, swap_objects
from mmkd.mixers.patches import Patches
from mmkd.mixers.samples import no_labels
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, fraction, single_labels, step_generator
from mmkd.view import Pairs, Part, View

SAMPLER = 'mmkd.SameClassPairBatchSampler'


@MODELS.register_module()
class PatchSwap(Mixer):
    """Exchange patches between the two images of a pair, at the same positions.

    Image i of a batch of 2n and image i + n form a pair (``mmkd.SameClassPairBatchSampler`` makes
    such batches). With probability ``prob`` a random set of patches is exchanged between them, so
    that every pixel of the two stays in the pair. Both are of one class, so the labels stay hard
    and unchanged. The same patches exchanged again restore the batch.

    Source: Choi et al., "Intra-class Patch Swap for Self-Distillation", Neurocomputing 645, 2025.

    Args:
        patch_size: Side of a square patch in pixels, instead of ``grid``. One that does not divide
            the image leaves narrower patches at the far edges. Defaults to None.
        grid: Patches per (column, row): rows and columns of the grid, on an object's box in
            detection. Defaults to (4, 4).
        prob: Probability of exchanging anything, for every pair. Defaults to 0.5.
        share: Probability of exchanging a patch of such a pair, each by itself; ``'uniform'``
            draws the number of patches from 1 to all but one instead. Defaults to 0.5.
        min_share: Segmentation: smallest share of a patch that the class has to cover in both
            images. Defaults to 0.5.
        teacher_on_mixed: See the base class. Defaults to False.

    Deviations: the paper's patch size, probabilities and number of patches are not known to us;
    the defaults are ours. It swaps whole images of one class. Ours are:

    - Segmentation: images of many classes are paired as they come. A patch is exchanged only where
      the same class covers most of it in both images, and the label maps are exchanged with it.
    - Detection: pairs are objects of one class in different images of the batch, each object in at
      most one pair. Their boxes are cut into the grid; a cell is filled with the other object's
      cell, resized. Boxes stay as they are. Objects that overlap an ignored box (a crowd) or an
      object of another pair are left alone. A teacher sees the mixed batch always.
    """

    soft_labels = False
    pairs = True

    def __init__(
        self,
        patch_size: int | None = None,
        grid: tuple[int, int] = (4, 4),
        prob: float = 0.5,
        share: float | str = 0.5,
        min_share: float = 0.5,
        teacher_on_mixed: bool = False,
    ) -> None:
        super().__init__(prob=prob, teacher_on_mixed=teacher_on_mixed)
        self.patches = Patches(tuple(grid), patch_size)  # type: ignore[arg-type]
        self.share = share if share == 'uniform' else fraction(share=share)
        self.min_share = fraction(min_share=min_share)

    def check(self, size: tuple[int, int]) -> None:
        """Refuse images smaller than the grid, and a grid of one patch."""
        grid = self.patches.check(size)
        if grid[0] * grid[1] < 2:
            raise ConfigError(
                self.patches.key,
                f'is one patch on images of {size} pixels: a pair would exchange its two images',
            )

    @torch.no_grad()
    def mix(self, inputs: Tensor, data_samples: Any, iteration: int = 0) -> View:
        """Return the view of one step; see the base class.

        Raises:
            ConfigError: The batch is odd or a single image, its samples have no labels or labels
                that are not of one class in a pair, or the images are smaller than the grid.
        """
        first = data_samples[0] if data_samples else None
        if first is None or not hasattr(first, 'new'):
            raise no_labels(data_samples)
        if 'gt_instances' not in first or 'bboxes' not in first.gt_instances:
            return super().mix(inputs, data_samples, iteration)
        super().check_batch(len(inputs))
        generator = step_generator(iteration, get_rank())
        return self.mix_objects(inputs, data_samples, generator)

    def check_batch(self, batch: int) -> None:
        """Refuse batches that hold no pairs; only the last one of an epoch may be odd."""
        self._largest_batch = max(self._largest_batch, batch)
        if self._largest_batch % 2:
            raise ConfigError(
                'train_dataloader.batch_size',
                f'PatchSwap pairs the images of one batch, which has {self._largest_batch}; use '
                'an even number per process',
            )

    def parts(self, inputs: Tensor, data_samples: Any, generator: torch.Generator) -> list[Part]:
        """Draw which cells of every pair are exchanged; see the base class."""
        batch, size = len(inputs), (inputs.shape[-2], inputs.shape[-1])
        first = data_samples[0]
        allowed = None
        if 'gt_label' in first or 'gt_score' in first:
            check_classes(data_samples, batch)
        elif 'gt_sem_seg' in first:
            allowed = common_cells(data_samples, self.patches, size, batch // 2, self.min_share)
        else:
            raise no_labels(data_samples)
        grid = self.patches.grid_for(size)
        cells = self.draw_cells(batch // 2, grid, generator).to(inputs.device)
        if allowed is not None:
            cells &= allowed
        pixels = self.patches.upsample(cells, size)[:, None]  # (n, 1, H, W)
        weight = inputs.new_zeros(batch, 1, *size)
        weight[: 2 * len(pixels)] = torch.cat([pixels, pixels]).to(inputs)
        own = torch.arange(batch, device=inputs.device)
        partner = halves(batch).to(inputs.device)
        return keep_padding([Part(own, 1 - weight), Part(partner, weight)], data_samples)

    def view(
        self, inputs: Tensor, data_samples: Any, parts: list[Part], pairs: Pairs | None = None
    ) -> View:
        """Mix images and labels, and name the pairs; see the base class."""
        images = torch.stack([part.source for part in parts], 1)[: len(inputs) // 2]
        pairs = Pairs(images, swapped=parts[1].weight > 0.5)
        return super().view(inputs, data_samples, parts, pairs)

    def mix_objects(self, inputs: Tensor, data_samples: Any, generator: torch.Generator) -> View:
        """Return the view of a step of a detector."""
        if self.patches.patch_size is not None:
            raise ConfigError(
                self.patches.key, 'boxes differ in size and need a `grid` in detection'
            )
        grid = self.patches.grid
        self.check(grid)
        pairs = draw_object_pairs(data_samples, grid, tuple(inputs.shape[-2:]), generator)
        cells = self.draw_cells(len(pairs), grid, generator)
        mixed, swapped = swap_objects(inputs, pairs, cells, self.patches)
        found = Pairs(
            images=torch.tensor([[a.image, b.image] for a, b in pairs], dtype=torch.long)
            .reshape(-1, 2)
            .to(inputs.device),
            swapped=swapped,
            boxes=torch.tensor([[a.box, b.box] for a, b in pairs], dtype=torch.float)
            .reshape(-1, 2, 4)
            .to(inputs.device),
            labels=torch.tensor([a.label for a, _ in pairs], dtype=torch.long).to(inputs.device),
        )
        return View(mixed, data_samples, mixed, data_samples, teacher_on_mixed=True, pairs=found)

    def draw_cells(self, pairs: int, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw which cells (P, gh, gw) of every pair are exchanged, bool."""
        chosen = torch.rand(pairs, 1, generator=generator) < self.prob
        count = grid[0] * grid[1]
        values = torch.rand(pairs, count, generator=generator)
        if self.share == 'uniform':
            number = torch.randint(1, count, (pairs, 1), generator=generator)
            cells = values.argsort(1).argsort(1) < number
        else:
            cells = values < self.share
        return (cells & chosen).reshape(pairs, *grid)


def halves(batch: int) -> Tensor:
    """Return the partner (N,) of every image: i and i + n; a last odd one is its own."""
    pairs = batch // 2
    index = torch.arange(batch)
    return torch.cat([index[pairs : 2 * pairs], index[:pairs], index[2 * pairs :]])


def check_classes(samples: Any, batch: int) -> None:
    """Refuse classification labels that are not one and the same class in every pair.

    Raises:
        ConfigError: They are soft, several, or differ.
    """
    if any('gt_score' in sample for sample in samples):
        raise ConfigError(
            '',
            'PatchSwap needs hard labels; remove what makes them soft (the batch augmentations of '
            'the data preprocessor, another mixer)',
        )
    labels = single_labels(samples)
    if labels is None:
        raise ConfigError(
            'train_dataloader.dataset',
            'PatchSwap pairs images of one class, which multi-label data do not have',
        )
    pairs = batch // 2
    if batch % 2 or not torch.equal(labels[:pairs], labels[pairs:]):
        raise ConfigError(
            'train_dataloader.batch_sampler',
            'the two halves of a batch are not of the same classes; set batch_sampler='
            f"dict(type='{SAMPLER}')",
        )
