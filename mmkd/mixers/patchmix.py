"""PatchMix: patches of several images in one, at their own positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmkd.mixers.base import Mixer, partners
from mmkd.mixers.patches import Patches
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, integer, one_of


@MODELS.register_module()
class PatchMix(Mixer):
    """Mix images patch by patch; patches keep their positions.

    Two published forms are behind one interface:

    - ``'permutation'``: one random permutation of the patch positions is drawn for the batch and
      cut into ``num_images`` groups; group j of image i comes from image (i + j) mod N.
    - ``'random'``: random cells. λ ~ Beta(1, 1) is the share of replaced cells; with ``num_images``
      > 2 they are divided among the other sources. The sources are derangements: no image is mixed
      with itself.

    Source: PatchMix as used by Xu et al., "PatchMix Simulation Knowledge Distillation", IEEE TCDS
    2025. The permutation form is public in visresearch/patchmix@21ace32 (contrastive learning), the
    random form in MingSun-Tse/Good-DA-in-KD@75443f9, a study of augmentation for distillation.

    Args:
        variant: ``'random'`` or ``'permutation'``. Defaults to ``'random'``.
        grid: Patches per (column, row): rows and columns of the grid. Defaults to (2, 2).
        patch_size: Side of a square patch in pixels, instead of ``grid``. Defaults to None.
        num_images: Images m in one mixed image, m ≥ 1. Defaults to 2.
        draw: For ``'random'``: ``'image'`` draws λ and the cells of every image, ``'batch'`` once
            for all images of a batch. Defaults to ``'image'``.
        **kwargs: See :class:`~mmkd.mixers.base.Mixer`.

    Deviations: the paper's variant, patch size and probability are not public; the defaults are
    ours. Positions left over by a division stay with the image itself, as in the public code, and
    labels go by area, where that code gives every source 1/m. The study of the random form draws
    once per batch (``draw='batch'``), has patches of 4 pixels (``patch_size=4``), and adds the
    mixed batch to the clean one for the distillation loss alone. Here it takes the place of the
    clean batch for all losses; with ``task_on='clean'`` for the distillation loss alone.
    """

    def __init__(
        self,
        variant: str = 'random',
        grid: tuple[int, int] = (2, 2),
        patch_size: int | None = None,
        num_images: int = 2,
        draw: str = 'image',
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.per_image = one_of(('image', 'batch'), draw=draw) == 'image'
        self.variant = one_of(('random', 'permutation'), variant=variant)
        self.patches = Patches(tuple(grid), patch_size)  # type: ignore[arg-type]
        self.num_images = integer(1, num_images=num_images)

    def check(self, size: tuple[int, int]) -> None:
        """Refuse images smaller than the grid, and grids with fewer patches than images."""
        grid = self.patches.check(size)
        if grid[0] * grid[1] < self.num_images:
            raise ConfigError(
                self.patches.key,
                f'a grid of {grid} has fewer patches than num_images={self.num_images}',
            )

    def draw(
        self, batch: int, size: tuple[int, int], generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Draw the assignment map (N, gh, gw) and the source table; see the base class."""
        grid = self.patches.grid_for(size)
        images = min(self.num_images, batch)
        if self.variant == 'permutation':
            assignment, sources = permutation(batch, grid, images, generator)
        else:
            assignment, sources = random_cells(batch, grid, images, generator, self.per_image)
        pixels = self.patches.upsample(assignment, size)
        return [(sources[:, k], (pixels == k).float()[:, None]) for k in range(images)]


def permutation(
    batch: int, grid: tuple[int, int], images: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one permutation of the positions for the batch, cut into equal groups.

    Returns:
        Assignment (N, gh, gw) with values below ``images``, and sources (N, images).
    """
    patches = grid[0] * grid[1]
    size = patches // images
    assignment = torch.zeros(patches, dtype=torch.long)
    order = torch.randperm(patches, generator=generator)
    for k in range(1, images):
        assignment[order[k * size : (k + 1) * size]] = k
    sources = (torch.arange(batch)[:, None] + torch.arange(images)) % batch
    return assignment.reshape(1, *grid).expand(batch, *grid), sources


def random_cells(
    batch: int,
    grid: tuple[int, int],
    images: int,
    generator: torch.Generator,
    per_image: bool = True,
) -> tuple[Tensor, Tensor]:
    """Draw random cells and sources that are derangements of the batch.

    ``per_image`` draws the cells of every image, and otherwise the same cells for all.

    Returns:
        Assignment (N, gh, gw) with values below ``images``, and sources (N, images).
    """
    patches = grid[0] * grid[1]
    masks = batch if per_image else 1
    share = torch.rand(masks, 1, generator=generator)  # Beta(1, 1)
    rank = torch.rand(masks, patches, generator=generator).argsort(1).argsort(1)
    replaced = rank < (share * patches).floor()
    source_of = 1 + rank % max(images - 1, 1)
    assignment = torch.where(replaced, source_of, 0) if images > 1 else torch.zeros_like(rank)
    assignment = assignment.reshape(masks, *grid).expand(batch, *grid)
    return assignment, partners(batch, images, generator)
