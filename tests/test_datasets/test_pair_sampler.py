"""Same-class pairs: anchors and partners on one rank and on several."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    DefaultSampler,
    InfiniteSampler,
    RepeatDataset,
)
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner

import mmkd  # noqa: F401
from mmkd.datasets import SameClassPairBatchSampler
from mmkd.utils import ConfigError

# Images per class: long-tailed, with classes of one image.
COUNTS = st.lists(st.integers(1, 12), min_size=1, max_size=6)
RANKS = st.sampled_from([1, 2, 4])


class Labeled(BaseDataset):
    """A data set of labels only; reading an image fails."""

    def __init__(self, labels, **kwargs):
        self.labels = labels
        super().__init__(serialize_data=False, **kwargs)

    def load_data_list(self):
        return [dict(gt_label=label) for label in self.labels]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)['gt_label']]

    def prepare_data(self, idx):
        raise AssertionError('an image was read')


def labels_of(counts, seed=0):
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels).tolist()


def sampler_of(dataset, rank=0, world=1, cls=DefaultSampler, seed=3):
    with patch('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world)):
        return cls(dataset, seed=seed)


def pairs_of(dataset, batch_size=4, rank=0, world=1, epoch=0, **kwargs):
    """Return the batches of an epoch."""
    pairs = SameClassPairBatchSampler(sampler_of(dataset, rank, world), batch_size, **kwargs)
    pairs.set_epoch(epoch)
    batches = list(pairs)
    assert len(batches) == len(pairs)
    return batches


def halves(batches):
    """Return all anchors and all partners."""
    assert all(len(batch) % 2 == 0 for batch in batches)
    anchors = [i for batch in batches for i in batch[: len(batch) // 2]]
    partners = [i for batch in batches for i in batch[len(batch) // 2 :]]
    return anchors, partners


@settings(max_examples=40, deadline=None)
@given(counts=COUNTS, world=RANKS, pairs=st.integers(1, 5), epoch=st.integers(0, 3))
def test_every_image_is_an_anchor_once(counts, world, pairs, epoch):
    labels = labels_of(counts)
    dataset = Labeled(labels)
    found = [pairs_of(dataset, 2 * pairs, rank, world, epoch) for rank in range(world)]
    assert len({len(batches) for batches in found}) == 1  # no rank waits for another
    assert all(len(batch) == 2 * pairs for batches in found for batch in batches[:-1])
    seen = Counter(i for batches in found for i in halves(batches)[0])
    assert set(seen) == set(range(len(labels)))
    # Only what DefaultSampler adds to even out the ranks is repeated.
    assert sum(seen.values()) == -(-len(labels) // world) * world
    sizes = Counter(labels)
    for batches in found:
        for anchor, partner in zip(*halves(batches)):
            assert labels[anchor] == labels[partner]
            assert (anchor == partner) == (sizes[labels[anchor]] == 1)


@settings(max_examples=40, deadline=None)
@given(counts=COUNTS, world=RANKS, epoch=st.integers(0, 2))
def test_half_of_the_anchors_in_each_of_two_epochs(counts, world, epoch):
    labels = labels_of(counts)
    dataset = Labeled(labels)
    seen: Counter = Counter()
    for half in (2 * epoch, 2 * epoch + 1):
        for rank in range(world):
            batches = pairs_of(dataset, 4, rank, world, half, anchors_per_epoch='half')
            anchors, partners = halves(batches)
            share = -(-len(labels) // world)  # images of this rank without pairs
            assert len(anchors) + len(partners) == share + share % 2
            seen.update(anchors)
    assert set(seen) == set(range(len(labels)))


@settings(max_examples=30, deadline=None)
@given(counts=COUNTS, world=RANKS, half=st.sampled_from(['all', 'half']))
def test_draws_depend_on_seed_epoch_and_rank_alone(counts, world, half):
    dataset = Labeled(labels_of(counts))
    rank = world - 1
    straight = SameClassPairBatchSampler(sampler_of(dataset, rank, world), 4, half)
    epochs = []
    for epoch in range(4):
        straight.set_epoch(epoch)
        epochs.append(list(straight))
    for epoch in (3, 1):  # as after resuming
        kwargs = dict(rank=rank, world=world, epoch=epoch, anchors_per_epoch=half)
        assert pairs_of(dataset, 4, **kwargs) == epochs[epoch]


def test_seeds_epochs_and_ranks_differ():
    dataset = Labeled([0] * 64)
    ranks = [halves(pairs_of(dataset, 8, rank, 2))[1] for rank in (0, 1)]
    epochs = [pairs_of(dataset, 8, epoch=epoch) for epoch in (0, 1)]
    other = SameClassPairBatchSampler(sampler_of(dataset, seed=4), 8)
    assert ranks[0] != ranks[1]
    assert epochs[0] != epochs[1]
    assert list(other) != epochs[0]


def test_partners_are_uniform_over_the_others():
    dataset = Labeled([0, 1, 0, 0, 1, 0])
    pairs = SameClassPairBatchSampler(sampler_of(dataset), 2)
    counts = Counter()
    for epoch in range(3000):
        pairs.set_epoch(epoch)
        counts.update(tuple(batch) for batch in pairs)
    expected = {(a, p): 1000 for a in (0, 2, 3, 5) for p in (0, 2, 3, 5) if a != p}
    expected.update({(1, 4): 3000, (4, 1): 3000})
    assert set(counts) == set(expected)
    for pair, count in expected.items():
        assert abs(counts[pair] - count) < 4 * (1000 * 2 / 3) ** 0.5


def test_wrapped_data_sets():
    """An entry of a repeated image is never paired with another entry of the same image."""
    first, second = dict(type=Labeled, labels=[0, 1, 0, 2]), Labeled([1, 2, 2])
    twice = dict(type='RepeatDataset', dataset=first, times=2)
    labels = [0, 1, 0, 2, 1, 2, 2]
    for dataset, origin in (
        (ConcatDataset([first, second]), list(range(7))),
        (RepeatDataset(Labeled(labels), 3), list(range(7)) * 3),
        (ClassBalancedDataset(Labeled(labels), 0.9), None),
        (ConcatDataset([twice, second]), [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6]),
    ):
        if origin is None:
            origin = dataset.repeat_indices
            assert len(origin) > 7
        anchors, partners = halves(pairs_of(dataset, 4))
        assert sorted(anchors) == list(range(len(dataset)))
        for anchor, partner in zip(anchors, partners):
            assert labels[origin[anchor]] == labels[origin[partner]]
            assert origin[anchor] != origin[partner]


def test_infinite_sampler():
    """Anchors follow its endless order; resuming advances the batches."""
    labels = labels_of([5, 3, 1])
    dataset = Labeled(labels)
    pairs = SameClassPairBatchSampler(
        sampler_of(dataset, cls=InfiniteSampler), 4, anchors_per_epoch='half'
    )
    batches = [batch for _, batch in zip(range(30), pairs)]
    anchors, partners = halves(batches)
    plain = [index for _, index in zip(range(60), sampler_of(dataset, cls=InfiniteSampler))]
    assert anchors == plain
    assert [labels[i] for i in anchors] == [labels[i] for i in partners]


def test_drop_last():
    dataset = Labeled([0] * 10)
    assert [len(batch) for batch in pairs_of(dataset, 8)] == [8, 8, 4]
    assert [len(batch) for batch in pairs_of(dataset, 8, drop_last=True)] == [8, 8]


def test_real_loader():
    """Built from a config by the Runner; the log describes a batch and an epoch once."""
    config = dict(
        batch_size=6,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        batch_sampler=dict(type='mmkd.SameClassPairBatchSampler', anchors_per_epoch='half'),
        dataset=Labeled([0, 0, 1, 1, 1, 0]),
    )
    config['dataset'].prepare_data = lambda i: i
    with patch('mmkd.datasets.pair_sampler.print_log') as log:
        loader = Runner.build_dataloader(config, seed=5)
    (said,) = log.call_args.args
    assert 'the batch of 6 images is 3 pairs' in said
    assert 'an epoch has 3 anchors, so 6 images instead of 6 without pairs' in said
    (batch,) = list(loader)
    assert len(batch) == 6 and len(loader) == 1
    kind = DATA_SAMPLERS.get('mmkd.SameClassPairBatchSampler')
    assert kind is SameClassPairBatchSampler


@pytest.mark.parametrize('size', [0, 1, 3, -2, 2.5])
def test_odd_batches(size):
    with pytest.raises(ConfigError, match=r'^train_dataloader\.batch_size: .*even'):
        SameClassPairBatchSampler(sampler_of(Labeled([0, 0])), size)


def test_unknown_epoch():
    with pytest.raises(ConfigError, match=r'anchors_per_epoch: '):
        SameClassPairBatchSampler(sampler_of(Labeled([0, 0])), 2, 'some')


def test_half_needs_epochs():
    class Ordered:
        dataset = Labeled([0, 0])

    with pytest.raises(ConfigError, match="'half' needs a sampler with epochs"):
        SameClassPairBatchSampler(Ordered(), 2, 'half')


class Unlabeled(Labeled):
    def load_data_list(self):
        return [dict(img_path='a.png')] * 3

    get_cat_ids = BaseDataset.get_cat_ids


def test_no_labels():
    message = r'^train_dataloader\.dataset: image 0 of Unlabeled has no class'
    with pytest.raises(ConfigError, match=message):
        SameClassPairBatchSampler(sampler_of(Unlabeled([])), 2)
    with pytest.raises(ConfigError, match='has no class'):
        SameClassPairBatchSampler(sampler_of([1, 2, 3]), 2)


def test_multi_label():
    with pytest.raises(ConfigError, match=r'image 1 of Labeled has 2 classes.*exactly one'):
        SameClassPairBatchSampler(sampler_of(Labeled([[1], [0, 2]])), 2)
