"""CutMix against loops, and the share of its boxes."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.structures import DataSample

from mmkd.mixers import CutMix
from mmkd.mixers.base import beta
from mmkd.utils import step_generator

SIZE = (24, 30)


def labeled(batch: int) -> list:
    return [DataSample().set_gt_label(i) for i in range(batch)]


def batch_of(num: int = 4) -> torch.Tensor:
    return torch.randn(num, 3, *SIZE, dtype=torch.double)


def soft_labels(view) -> torch.Tensor:
    return torch.stack([sample.gt_score for sample in view.data_samples]).double()


@pytest.mark.parametrize('teacher_on_mixed', [True, False])
def test_cutmix_equals_loops(teacher_on_mixed):
    inputs = batch_of()
    mixer = CutMix(num_classes=4, teacher_on_mixed=teacher_on_mixed)
    seen = 0
    for iteration in range(8):
        view = mixer.mix(inputs, labeled(4), iteration)
        other = view.parts[1]
        pixels = other.weight[0, 0]
        assert ((pixels == 0) | (pixels == 1)).all()
        assert (other.weight == pixels).all()  # one box per batch
        rows, columns = pixels.any(1).nonzero().flatten(), pixels.any(0).nonzero().flatten()
        if not len(rows):
            continue
        seen += 1
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        assert pixels.sum() == (bottom - top) * (right - left)  # it is a box
        share = 1 - (bottom - top) * (right - left) / (SIZE[0] * SIZE[1])
        for i, j in enumerate(other.source.tolist()):
            assert i != j
            expected = inputs[i].clone()
            expected[:, top:bottom, left:right] = inputs[j, :, top:bottom, left:right]
            assert torch.equal(view.inputs[i], expected)
            label = torch.zeros(4, dtype=torch.double)
            label[i], label[j] = share, 1 - share
            torch.testing.assert_close(soft_labels(view)[i], label)
        feature = inputs * 2
        assert torch.equal(view.simulate(feature), feature if teacher_on_mixed else view.inputs * 2)
    assert seen > 4


def test_cutmix_box_has_the_drawn_share():
    """λ is drawn first; boxes that the border does not clip have the share 1 - λ."""
    compared = 0
    for iteration in range(40):
        generator = step_generator(iteration)
        share = 1 - float(beta(1.0, 1, generator))
        cy, cx = torch.rand(2, generator=generator).tolist()
        half = share**0.5 / 2
        box = CutMix().draw(2, (200, 300), step_generator(iteration))[1][1]
        if half <= min(cy, cx, 1 - cy, 1 - cx):
            assert float(box.mean()) == pytest.approx(share, abs=0.01)
            compared += 1
        else:
            assert float(box.mean()) < share + 0.01
    assert compared > 3
