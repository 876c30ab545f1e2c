"""A batch mixer of its own."""

import torch

from mmkd.mixers import Mixer
from pebbles.registry import MODELS


@MODELS.register_module()
class Stripes(Mixer):
    """Replace every other stripe of so many rows by the next image's."""

    def __init__(self, rows=16, **kwargs):
        super().__init__(**kwargs)
        self.rows = rows

    def draw(self, batch, size, generator):
        own = torch.arange(batch)
        stripe = (torch.arange(size[0]) // self.rows % 2).float().reshape(1, 1, -1, 1)
        return [(own, 1 - stripe), ((own + 1) % batch, stripe)]
