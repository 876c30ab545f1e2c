"""CIRKD: its terms, its queues, resuming."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from support.views import built, labeled_view, random

from mmkd.methods import CIRKD, cirkd
from mmkd.methods.cirkd import PIXELS, REGIONS, cross_image_loss, memory_loss
from mmkd.utils import step_generator

SMALL = dict(pixel_queue=30, region_queue=6, pixel_samples=20, region_samples=9, num_classes=4)


def maker(**kwargs):
    """Return a built method for maps of 3 and 6 channels, without statistics over the batch."""
    torch.manual_seed(0)
    method = CIRKD('a', 'b', **{**SMALL, 'pixels_per_class': 3, **kwargs})
    return built(method, [random(2, 3, 4, 4)], [random(2, 6, 4, 4)]).eval()


def step(method, batch=4, seed=0, iteration=0, part=slice(None), ignored=False):
    """Run one iteration; class 3 is absent. Returns the losses."""
    MessageHub.get_current_instance().update_info('iter', iteration)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (batch, 8, 8), generator=generator)
    labels[:, 0] = 255
    if ignored:
        labels = torch.full_like(labels, 255)
    student = random(batch, 3, 4, 4, seed=2 * seed)[part].requires_grad_()
    teacher = random(batch, 6, 4, 4, seed=2 * seed + 1)[part]
    return method.compute([student], [teacher], labeled_view(labels[part])), labels[part], teacher


def unit(x):
    return F.normalize(x, dim=1).flatten(2).transpose(1, 2).flatten(0, 1)


def test_terms():
    """Their weights, and samples of the queues as the step leaves them."""
    method = maker(batch_weight=2.0, pixel_weight=3.0, region_weight=5.0)
    losses, labels, teacher = step(method)
    assert list(losses) == ['batch', 'pixel', 'region']
    student = random(4, 3, 4, 4)
    expected = cross_image_loss(student, teacher)
    assert float(losses['batch']) == pytest.approx(2 * float(expected), rel=1e-9)
    cells = unit(method.project(student)), unit(teacher)
    valid = (labels[:, ::2, ::2] != 255).flatten().double()
    for kind, weight, samples, salt in (('pixel', 3.0, 20, PIXELS), ('region', 5.0, 9, REGIONS)):
        queue = getattr(method, f'{kind}_queue')
        rows = {tuple(row) for row in queue.flatten(0, 1).tolist()}
        memory = method.draw(kind, step_generator(0, salt=salt))
        assert len(memory) == 4 * min(samples // 4 + 1, queue.shape[1])
        assert len({tuple(row) for row in memory.tolist()} & rows) == len(memory)
        value = weight * float(memory_loss(*cells, memory, valid))
        assert float(losses[kind]) == pytest.approx(value, rel=1e-9)


def test_queues_hold_the_teachers_cells_and_regions():
    method = maker()
    before = method.pixel_queue.clone(), method.region_queue.clone()
    _, labels, teacher = step(method)
    small, cells = labels[:, ::2, ::2].flatten(1), F.normalize(teacher, dim=1).flatten(2)
    for k in range(4):
        picked, regions = [], []
        for n in range(4):
            members = cells[n][:, small[n] == k].T
            picked.append(members.tolist())
            if len(members):
                regions.append(F.normalize(members.mean(0), dim=0))
        count = sum(min(3, len(members)) for members in picked)
        assert method.pixel_pointer[k] == count and method.region_pointer[k] == len(regions)
        slot = 0
        for members in picked:
            for _ in range(min(3, len(members))):
                assert method.pixel_queue[k, slot].tolist() in members
                slot += 1
        for row, expected in zip(method.region_queue[k], regions):
            torch.testing.assert_close(row, expected)
        assert torch.equal(method.pixel_queue[k, slot:], before[0][k, slot:])
        assert torch.equal(method.region_queue[k, len(regions) :], before[1][k, len(regions) :])
    assert method.pixel_pointer[3] == 0 and method.pixel_pointer[0] > 0


def test_the_queue_may_hold_locations_of_the_whole_image():
    method = maker(pixels_from='image', pixels_per_class=16)
    _, labels, teacher = step(method, batch=1)
    small, cells = labels[:, ::2, ::2].flatten(), F.normalize(teacher, dim=1).flatten(2)[0].T
    for k in range(3):
        count = int((small == k).sum())
        assert method.pixel_pointer[k] == count
        found = {tuple(row) for row in method.pixel_queue[k, :count].tolist()}
        assert found == {tuple(row) for row in cells[:count].tolist()}


def test_everything_ignored():
    """The queues stay, the memory terms are zeros that touch every parameter."""
    method = maker()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    losses, _, _ = step(method, ignored=True)
    assert losses['pixel'] == 0 and losses['region'] == 0 and losses['batch'] > 0
    sum(losses.values()).backward()
    for parameter in method.parameters():
        assert parameter.grad is not None and not parameter.grad.any()
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())


def test_one_pixel_and_pooling():
    method = maker(pool=4).train()
    losses, _, _ = step(method)
    assert losses['batch'] == 0  # one cell
    assert all(value.isfinite() for value in losses.values())
    method = maker(pool=2)
    student, teacher = random(4, 3, 4, 4), random(4, 6, 4, 4, seed=1)
    pooled = [x.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5)) for x in (student, teacher)]
    expected = float(cross_image_loss(*pooled))
    assert float(step(method)[0]['batch']) == pytest.approx(expected, rel=1e-9)


def test_the_batch_term_of_large_maps_is_pooled(monkeypatch):
    monkeypatch.setattr(cirkd, 'LARGE', 4)
    teacher = random(4, 6, 4, 4, seed=1)
    pooled = [x.mean((2, 3), keepdim=True) for x in (random(4, 3, 4, 4), teacher)]
    losses = step(maker(tau=0.5))[0]
    assert losses['batch'] == cross_image_loss(*pooled, 0.5) == 0  # one cell
    monkeypatch.setattr(cirkd, 'LARGE', 5)
    whole = step(maker(tau=0.5))[0]
    assert whole['batch'] > 0 and whole['pixel'] == losses['pixel']


@pytest.mark.parametrize(
    ('device', 'kind'), [('cpu', torch.nn.BatchNorm2d), ('cuda', torch.nn.SyncBatchNorm)]
)
def test_the_projection_synchronizes_where_the_processes_use_gpus(monkeypatch, device, kind):
    monkeypatch.setattr(cirkd, 'get_comm_device', lambda: torch.device(device))
    assert isinstance(maker().project[1], kind)


def test_terms_without_weight_own_nothing():
    method = maker(pixel_weight=0.0, region_weight=0.0)
    assert not list(method.parameters()) and not list(method.buffers())
    assert list(step(method)[0]) == ['batch']
    assert list(step(maker(batch_weight=0.0, pixel_weight=0.0))[0]) == ['region']


def test_draws_leave_the_global_generator_alone_and_follow_the_iteration():
    method = maker()
    state = torch.get_rng_state()
    first = {k: float(v) for k, v in step(copy.deepcopy(method))[0].items()}
    again = {k: float(v) for k, v in step(copy.deepcopy(method))[0].items()}
    later = {k: float(v) for k, v in step(copy.deepcopy(method), iteration=1)[0].items()}
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again
    assert first['batch'] == later['batch'] and first['pixel'] != later['pixel']


def test_resume_continues_the_queues():
    whole = maker()
    for i in range(4):
        expected = step(whole, seed=i, iteration=i)[0]
    half = maker()
    for i in range(2):
        step(half, seed=i, iteration=i)
    torch.manual_seed(0)
    resumed = maker()
    resumed.load_state_dict({k: v.clone() for k, v in half.state_dict().items()})
    for i in range(2, 4):
        losses = step(resumed, seed=i, iteration=i)[0]
    assert {k: float(v) for k, v in losses.items()} == {k: float(v) for k, v in expected.items()}
    assert {'pixel_queue', 'pixel_pointer', 'region_queue', 'region_pointer'} <= set(
        half.state_dict()
    )
