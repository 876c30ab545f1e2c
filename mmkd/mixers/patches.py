"""Grids of patches on images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmkd.utils import ConfigError, integer


@dataclass(frozen=True)
class Patches:
    """A grid of patches, by rows and columns or by the pixels of a square patch.

    Args:
        grid: Patches per (column, row): rows and columns of the grid.
        patch_size: Side of a square patch in pixels, instead of ``grid``. A size that does not
            divide the image leaves narrower patches at the far edges. Defaults to None.

    Raises:
        ConfigError: One of them is not positive.
    """

    grid: tuple[int, int]
    patch_size: int | None = None

    def __post_init__(self) -> None:
        integer(1, optional=True, patch_size=self.patch_size)
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ConfigError('grid', f'must be (rows, columns), each at least 1, got {self.grid}')

    @property
    def key(self) -> str:
        """Config key that sets the grid."""
        return 'grid' if self.patch_size is None else 'patch_size'

    def grid_for(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the grid (rows, columns) of images of this size."""
        if self.patch_size is None:
            return self.grid
        return -(-size[0] // self.patch_size), -(-size[1] // self.patch_size)

    def check(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the grid of images of this size, and refuse images smaller than it.

        Raises:
            ConfigError: The grid does not fit.
        """
        grid = self.grid_for(size)
        if grid[0] > size[0] or grid[1] > size[1]:
            raise ConfigError(
                self.key, f'a grid of {grid} does not fit into images of {size} pixels'
            )
        return grid

    def upsample(self, cells: Tensor, size: tuple[int, int]) -> Tensor:
        """Give every pixel its patch's value: (N, gh, gw) -> (N, H, W)."""
        ys, xs = self.rows_and_columns(cells.shape[1:], size)
        return cells[:, ys.to(cells.device)][:, :, xs.to(cells.device)]

    def rows_and_columns(
        self, grid: tuple[int, ...], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the patch row (H,) of every pixel row and the patch column (W,) of its columns."""
        ys, xs = torch.arange(size[0]), torch.arange(size[1])
        if self.patch_size is None:
            return ys * grid[0] // size[0], xs * grid[1] // size[1]
        return ys // self.patch_size, xs // self.patch_size
