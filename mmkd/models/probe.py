"""A small forward pass at build time that measures what taps yield."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmkd.taps import Tap, TapReader


def probe_batch(model: nn.Module, size: tuple[int, int]) -> tuple[Tensor, list[Any]]:
    """Return an empty batch (2, C, *size) and samples with the meta information of images."""
    mean = getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    channels = len(mean) if isinstance(mean, Tensor) else 3
    meta = dict(
        img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1, 1)
    )
    samples = [BaseDataElement(metainfo=meta) for _ in range(2)]
    return torch.zeros(2, channels, *size), samples


@torch.no_grad()
def run_probe(
    model: nn.Module, reader: TapReader, inputs: Tensor, samples: list[Any]
) -> dict[Tap, list[Tensor]]:
    """Run a copy of a model on a probe batch and return what the taps yield.

    A copy, because SyncBN does not run on a CPU and the student's own statistics and modes must
    not change.
    """
    twin = revert_sync_batchnorm(copy.deepcopy(model)).eval()
    with reader.open(twin):
        twin(inputs, samples, mode='tensor')
    reader.measured()
    return reader.take()
