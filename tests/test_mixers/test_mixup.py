"""MixUp against loops, whole and partial."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.structures import DataSample

from mmkd.mixers import MixUp
from mmkd.utils import step_generator

SIZE = (24, 30)


def labeled(batch: int) -> list:
    return [DataSample().set_gt_label(i) for i in range(batch)]


def batch_of(num: int = 4) -> torch.Tensor:
    return torch.randn(num, 3, *SIZE, dtype=torch.double)


def soft_labels(view) -> torch.Tensor:
    return torch.stack([sample.gt_score for sample in view.data_samples]).double()


@pytest.mark.parametrize('teacher_on_mixed', [True, False])
def test_mixup_equals_loops(teacher_on_mixed):
    inputs = batch_of()
    mixer = MixUp(num_classes=4, teacher_on_mixed=teacher_on_mixed)
    for iteration in range(5):
        view = mixer.mix(inputs, labeled(4), iteration)
        own, other = view.parts
        assert own.source.tolist() == [0, 1, 2, 3]
        assert all(i != j for i, j in enumerate(other.source.tolist()))
        assert sorted(other.source.tolist()) == [0, 1, 2, 3]
        feature = torch.randn(4, 5, 3, 4, dtype=torch.double)
        simulated, vectors = view.simulate(feature), view.simulate(feature[:, :, 0, 0])
        for i, j in enumerate(other.source.tolist()):
            share = float(own.weight[i, 0, 0, 0])
            assert 0.5 <= share <= 1 and (own.weight[i] == share).all()
            torch.testing.assert_close(view.inputs[i], share * inputs[i] + (1 - share) * inputs[j])
            expected = feature[i]
            if not teacher_on_mixed:
                expected = share * feature[i] + (1 - share) * feature[j]
            torch.testing.assert_close(simulated[i], expected)
            torch.testing.assert_close(vectors[i], expected[:, 0, 0])
            label = torch.zeros(4, dtype=torch.double)
            label[i], label[j] = share, 1 - share
            torch.testing.assert_close(soft_labels(view)[i], label)
        assert torch.equal(view.teacher_inputs, view.inputs if teacher_on_mixed else inputs)
        assert view.interior((3, 4), 1) is None  # no patch borders


def test_every_image_has_its_own_lambda():
    view = MixUp(num_classes=4).mix(batch_of(), labeled(4))
    assert len(set(view.parts[0].weight[:, 0, 0, 0].tolist())) == 4


def unmixed(view) -> int:
    """Count the images that stay as they are."""
    return int((view.parts[0].weight[:, 0, 0, 0] == 1).sum())


@pytest.mark.parametrize('mode', ['exact', 'with_replacement'])
def test_partial_mixup(mode):
    """Images that are drawn stay as they are, label included; every other one has its own λ."""
    inputs = batch_of(10)
    mixer = MixUp(num_classes=10, partial=0.5, partial_mode=mode)
    counts = []
    for iteration in range(10):
        view = mixer.mix(inputs, labeled(10), iteration)
        counts.append(unmixed(view))
        shares = view.parts[0].weight[:, 0, 0, 0]
        for i, j in enumerate(view.parts[1].source.tolist()):
            label = torch.zeros(10, dtype=torch.double)
            label[i], label[j] = shares[i], 1 - shares[i]
            torch.testing.assert_close(soft_labels(view)[i], label)
            kept = torch.equal(view.inputs[i], inputs[i])
            assert kept == (shares[i] == 1) == bool(label[i] == 1)
        mixed = shares[shares < 1].tolist()
        assert len(set(mixed)) == len(mixed)
    if mode == 'exact':
        assert counts == [5] * 10
    else:  # whoever is drawn twice counts once
        assert max(counts) <= 5 and len(set(counts)) > 1


@pytest.mark.parametrize(
    ('partial', 'mode', 'share'),
    [
        (0.9, 'with_replacement', (63 / 64) ** 57),
        (0.5, 'with_replacement', (63 / 64) ** 32),
        (0.9, 'exact', 7 / 64),
        (0.5, 'exact', 0.5),
    ],
)
def test_share_of_mixed_images_in_a_batch_of_64(partial, mode, share):
    """With replacement 0.9 mixes 40.8 % of the images and 0.5 mixes 60.4 %."""
    mixer = MixUp(partial=partial, partial_mode=mode)
    drawn = [mixer.draw(64, (1, 1), step_generator(i))[0][1] for i in range(300)]
    measured = float((torch.stack(drawn) < 1).float().mean())
    assert measured == pytest.approx(share, abs=0.01 if mode == 'with_replacement' else 1e-6)


def test_a_full_mixup_draws_as_before():
    """The images to keep are drawn last, so λ and partners do not depend on their number."""
    full = MixUp().draw(8, (1, 1), step_generator(3))
    for mode in ('exact', 'with_replacement'):
        part = MixUp(partial=0.5, partial_mode=mode).draw(8, (1, 1), step_generator(3))
        assert torch.equal(part[1][0], full[1][0])
        changed = part[0][1] != full[0][1]
        assert changed.any() and (part[0][1][changed] == 1).all()
    assert not (full[0][1] == 1).any()
