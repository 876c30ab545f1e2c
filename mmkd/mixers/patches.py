"""Grids of patches on images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmkd.utils import ConfigError

KEY = 'model.distill.mixer'


@dataclass(frozen=True)
class Patches:
    """A grid of patches: so many rows and columns, or square patches of so many pixels.

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
        if self.patch_size is not None and self.patch_size < 1:
            raise ConfigError(
                f'{KEY}.patch_size', f'must be at least 1 pixel, not {self.patch_size}'
            )
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ConfigError(
                f'{KEY}.grid', f'is (rows, columns), each at least 1, not {self.grid}'
            )

    @property
    def key(self) -> str:
        """Config key that decides the grid."""
        return f'{KEY}.{"grid" if self.patch_size is None else "patch_size"}'

    def of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the grid (rows, columns) of images of this size."""
        if self.patch_size is None:
            return self.grid
        return -(-size[0] // self.patch_size), -(-size[1] // self.patch_size)

    def check(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the grid of images of this size, and refuse images smaller than it.

        Raises:
            ConfigError: The grid does not fit.
        """
        grid = self.of(size)
        if grid[0] > size[0] or grid[1] > size[1]:
            raise ConfigError(
                self.key, f'a grid of {grid} does not fit into images of {size} pixels'
            )
        return grid

    def enlarge(self, cells: Tensor, size: tuple[int, int]) -> Tensor:
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
