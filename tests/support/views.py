"""Tensors, views and built methods for the tests of methods."""

from __future__ import annotations

import torch
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import nn

from mmkd.mixers import PatchMix, View


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def built(method, student, teacher, teachers=None):
    """Configure and build a method for these tensors, as the distiller does."""
    method.build(nn.Module(), student, teacher, teachers or {})
    return method.double()


def plain_view(batch: int = 2) -> View:
    return View.plain(torch.zeros(batch, 3, 16, 16), [])


def mixed_view(batch: int, mixer=None, size=(16, 16)) -> View:
    """Return a view that is really mixed, with masks in fp64."""
    mixer = mixer or PatchMix(variant='permutation', grid=(4, 4), num_images=2)
    mixer.num_classes = batch
    samples = [DataSample().set_gt_label(i) for i in range(batch)]
    return mixer.mix(random(batch, 3, *size), samples)


def labeled_view(labels) -> View:
    """Return a plain view with label maps (N, H, W)."""
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
    return View.plain(torch.zeros(len(labels), 3, *labels.shape[1:]), samples)
