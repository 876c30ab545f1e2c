"""Sample numbers in nested data sets, and repeated batches."""

from __future__ import annotations

import pytest
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATASETS, DefaultScope
from support.runs import dataset_config

from mmkd.datasets import IndexedDataset, PreviousBatchSampler
from mmkd.utils import ConfigError


def cls(shapes, split='train', **arguments):
    return dict(dataset_config('cls', shapes, split), **arguments)


def build(config):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(config)


def numbers(dataset) -> list[int]:
    return [dataset[i]['data_samples'].sample_idx for i in range(len(dataset))]


def paths(dataset) -> list[str]:
    return [dataset[i]['data_samples'].img_path for i in range(len(dataset))]


def test_plain_data_sets_number_their_images_themselves(shapes):
    assert numbers(build(cls(shapes))) == list(range(8))
    assert numbers(build(dict(type='mmkd.IndexedDataset', dataset=cls(shapes)))) == list(range(8))


def test_concatenated_data_sets_need_the_wrapper(shapes):
    both = dict(type='ConcatDataset', datasets=[cls(shapes), cls(shapes, 'val')])
    assert len(set(numbers(build(both)))) < 12  # the problem
    wrapped = build(dict(type='mmkd.IndexedDataset', dataset=both))
    assert isinstance(wrapped, IndexedDataset)
    assert numbers(wrapped) == list(range(12)) and wrapped.num_samples == 12
    assert wrapped.metainfo['classes'] == build(cls(shapes)).metainfo['classes']


@pytest.mark.parametrize('kind', ['RepeatDataset', 'ClassBalancedDataset'])
def test_a_repeated_image_keeps_its_number(kind, shapes):
    """Nested: two parts, one of them repeated, the whole repeated again."""
    extra = dict(times=2) if kind == 'RepeatDataset' else dict(oversample_thr=3.0)
    inner = dict(type=kind, dataset=cls(shapes), **extra)
    both = dict(type='ConcatDataset', datasets=[cls(shapes, 'val'), inner])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = DATASETS.build(both)
    wrapped = IndexedDataset(built)
    assert len(wrapped) > 12 and wrapped.num_samples == 12
    of_path: dict[str, set[int]] = {}
    for path, number in zip(paths(wrapped), numbers(wrapped)):
        of_path.setdefault(path, set()).add(number)
    assert len(of_path) == 12 and all(len(found) == 1 for found in of_path.values())
    assert set.union(*of_path.values()) == set(range(12))


def test_a_replaced_image_has_its_own_number(shapes):
    """A data set that cannot read an image takes another one."""
    dataset = build(cls(shapes))
    prepare = dataset.prepare_data
    dataset.prepare_data = lambda idx: None if idx == 3 else prepare(idx)
    dataset._rand_another = lambda: 5
    assert IndexedDataset(dataset)[3]['data_samples'].sample_idx == 5


def test_wrappers_that_hide_their_choice_and_missing_numbers(shapes):
    class Hidden:
        def __init__(self, dataset):
            self.dataset = dataset

        def __len__(self):
            return len(self.dataset)

    with pytest.raises(ConfigError, match='Hidden cannot be numbered'):
        IndexedDataset(Hidden(build(cls(shapes))))
    config = cls(shapes)
    config['pipeline'][-1] = dict(type='PackInputs', meta_keys=('img_path',))
    with pytest.raises(ConfigError, match='sample_idx'):
        IndexedDataset(build(config))[0]


@pytest.mark.parametrize('drop_last', [False, True])
def test_every_batch_comes_twice(drop_last):
    sampler = DefaultSampler(range(7), shuffle=True, seed=3)
    batches = PreviousBatchSampler(sampler, 4, drop_last=drop_last)
    before: list[int] = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        order = list(sampler)
        expected = [order[i : i + 2] for i in range(0, 6 if drop_last else 7, 2)]
        found = list(batches)
        assert len(found) == len(batches) == len(expected)
        for batch, new in zip(found, expected):
            assert batch == new + before
            before = new
    assert len(PreviousBatchSampler(sampler, 4)) == 4  # the smaller one stays by default


@pytest.mark.parametrize('size', [3, 0, 2.0])
def test_odd_batches_are_refused(size):
    with pytest.raises(ConfigError, match='batch_size'):
        PreviousBatchSampler(DefaultSampler(range(4)), size)


def test_half_epochs_show_as_many_images_as_one_without_repetition():
    sampler = DefaultSampler(range(8), shuffle=True, seed=3)
    batches = PreviousBatchSampler(sampler, 4, new_per_epoch='half')
    new: list[list[int]] = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        found = list(batches)
        assert len(found) == len(batches) == 2
        new.append([index for batch in found for index in batch[:2]])
    assert sorted(new[0] + new[1]) == sorted(new[2] + new[3]) == list(range(8))
    assert new[0] + new[1] != new[2] + new[3]
    with pytest.raises(ConfigError, match='new_per_epoch'):
        PreviousBatchSampler(sampler, 4, new_per_epoch='some')
    with pytest.raises(ConfigError, match='needs a sampler with epochs'):
        PreviousBatchSampler(range(8), 4, new_per_epoch='half')
