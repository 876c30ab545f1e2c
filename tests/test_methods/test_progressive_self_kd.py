"""ProgressiveSelfKD against a dictionary and loops, over several epochs."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from support.labels import class_view
from support.runs import run_config, train
from support.tiny_models import make_student
from support.views import mixed_view, random
from torch import nn

from mmkd.methods import ProgressiveSelfKD
from mmkd.mixers import CutMix, MixUp, PatchMix
from mmkd.utils import ConfigError

EPOCHS = 4


def at_epoch(epoch: int, epochs: int = EPOCHS) -> None:
    hub = MessageHub.get_current_instance()
    hub.update_info('epoch', epoch)
    hub.update_info('max_epochs', epochs)


def make(classes: int, **arguments) -> ProgressiveSelfKD:
    arguments = dict(num_samples=6, dtype='fp32', **arguments)
    method = ProgressiveSelfKD('head', **arguments)
    method.build(nn.Module(), [torch.zeros(2, classes)], [], {})
    if arguments['dtype'] == 'fp32':
        method.table.previous = method.table.previous.double()
        method.table.current = method.table.current.double()
    return method


class Naive:
    """The definition: two dictionaries, one softmax after the other."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.past: dict[int, torch.Tensor] = {}
        self.now: dict[int, torch.Tensor] = {}

    def epoch(self) -> None:
        self.past = dict(self.now)

    def step(self, epoch, logits, labels, numbers, record=True) -> float:
        alpha_t, total = self.alpha * (epoch + 1) / EPOCHS, 0.0
        for row, label, number in zip(logits, labels, numbers):
            probs = row.softmax(0)
            target = torch.zeros_like(row)
            target[label] = 1.0
            own = -float(probs[label].log())
            past = self.past.get(number, target)
            total += alpha_t * (-float((past * probs.log()).sum()) - own)
        if record:
            for row, number in zip(logits, numbers):
                self.now[number] = row.softmax(0)
        return total / len(logits)


@pytest.mark.parametrize('classes', [2, 5])
def test_equals_loops_over_epochs(classes):
    """Image 5 is drawn twice an epoch by a padding sampler, image 4 only in the first epoch."""
    method, naive = make(classes, alpha=0.8), Naive(0.8)
    labels = [0, 1, 0, 1, 1, 0]
    seen = []
    for epoch in range(EPOCHS):
        at_epoch(epoch)
        naive.epoch()
        batches = [[0, 3, 5], [2, 1, 5], [5, 4] if epoch == 0 else [5, 3]]
        for step, numbers in enumerate(batches):
            logits = random(len(numbers), classes, seed=10 * epoch + step).requires_grad_()
            own = [labels[n] for n in numbers]
            loss = method.compute([logits], [], class_view(own, numbers))['progressive']
            expected = naive.step(epoch, logits.detach(), own, numbers)
            assert float(loss.detach()) == pytest.approx(expected, rel=1e-9, abs=1e-12)
            seen.append(float(loss.detach()))
            # The whole is the published loss: cross-entropy with the softened label.
            if epoch and step == 0:
                assert float(method.monitored['alpha']) == pytest.approx(0.8 * (epoch + 1) / EPOCHS)
                (gradient,) = torch.autograd.grad(loss, logits)
                assert gradient.any()
    assert seen[:3] == [0.0] * 3 and all(seen[3:])


def test_the_sum_is_the_published_loss():
    method = make(3, alpha=0.6)
    at_epoch(0)
    before = random(2, 3)
    method.compute([before], [], class_view([2, 0]))
    at_epoch(1)
    logits, labels = random(2, 3, seed=1), torch.tensor([2, 0])
    added = method.compute([logits], [], class_view(labels))['progressive']
    own = torch.nn.functional.cross_entropy(logits, labels)
    alpha = 0.6 * 2 / EPOCHS
    soft = (1 - alpha) * torch.eye(3).double()[labels] + alpha * before.softmax(1)
    published = torch.nn.functional.cross_entropy(logits, soft)
    torch.testing.assert_close(own + added, published)


def test_what_is_kept_is_read_again():
    for dtype, tolerance in (('fp16', 1e-3), ('fp32', 1e-12)):
        method = make(5, alpha=0.5) if dtype == 'fp32' else ProgressiveSelfKD('h', 6)
        if dtype == 'fp16':
            method.build(nn.Module(), [torch.zeros(2, 5)], [], {})
            assert method.table.current.dtype == torch.float16
        table = method.table
        table.begin(0)
        probs = random(2, 5).softmax(1)
        table.write(torch.tensor([4, 1]), probs, torch.tensor([0, 0]))
        table.begin(1)
        read, known = table.read(torch.tensor([1, 2, 4]), torch.eye(5).double()[:3])
        assert known.tolist() == [True, False, True]
        torch.testing.assert_close(read[[2, 0]], probs, rtol=tolerance, atol=tolerance)
        assert torch.equal(read[1], torch.eye(5).double()[1])
        torch.testing.assert_close(read.sum(1), torch.ones(3).double())


def test_the_largest_probabilities_alone():
    method = make(5, top_k=2)
    table = method.table
    table.begin(0)
    probs = torch.tensor([[0.5, 0.1, 0.2, 0.15, 0.05]]).double()
    table.write(torch.tensor([3]), probs, torch.tensor([0]))
    table.begin(1)
    read, _ = table.read(torch.tensor([3]), torch.eye(5).double()[:1])
    expected = torch.tensor([[0.5, 0.1, 0.2, 0.1, 0.1]]).double()
    torch.testing.assert_close(read, expected)
    assert table.current.shape == (6, 2)
    assert make(5, top_k=7).table.top_k is None


def test_an_image_twice_in_a_batch_is_written_once():
    table = make(3).table
    table.begin(0)
    probs = random(4, 3).softmax(1)
    table.write(torch.tensor([2, 0, 2, 1]), probs, torch.tensor([1, 0, 1, 2]))
    assert torch.equal(table.current[2], probs[2]) and torch.equal(table.current[0], probs[1])


@pytest.mark.parametrize('mixer', [PatchMix(grid=(2, 2)), MixUp(), CutMix()])
def test_targets_of_mixed_images_are_mixed_and_not_recorded(mixer):
    classes = 3
    view = mixed_view(3, mixer)  # image i has the class i
    for i, sample in enumerate(view.data_samples):
        sample.set_metainfo(dict(sample_idx=i))
    method = make(classes, alpha=0.8)
    at_epoch(0)
    before = random(3, classes)
    method.compute([before[:2]], [], class_view([0, 1]))  # of image 2 there is no record
    at_epoch(1)
    past = torch.cat([before[:2].softmax(1), torch.eye(3).double()[2:]])
    logits = random(3, classes, seed=4)
    kept = method.table.current.clone()
    loss = method.compute([logits], [], view)['progressive']
    assert torch.equal(method.table.current, kept)
    expected = 0.0
    for i in range(3):
        change = torch.zeros(classes).double()
        for part in view.parts:
            source, share = int(part.source[i]), part.weight[i].double().mean()
            change += share * (past[source] - torch.eye(3).double()[source])
        expected -= 0.8 * 2 / EPOCHS * float((change * logits[i].log_softmax(0)).sum()) / 3
    assert float(loss) == pytest.approx(expected, rel=1e-5)  # the masks are fp32


def test_a_state_from_the_middle_of_an_epoch_gives_the_same_targets():
    """And so does one from its end."""
    whole = make(4)
    views = [class_view([0, 1], [0, 1]), class_view([2, 3], [2, 3])]
    at_epoch(0)
    for step, view in enumerate(views):
        whole.compute([random(2, 4, seed=step)], [], view)
    end = copy.deepcopy(whole.state_dict())
    at_epoch(1)
    whole.compute([random(2, 4, seed=5)], [], views[0])
    middle = copy.deepcopy(whole.state_dict())
    expected = whole.compute([random(2, 4, seed=6)], [], views[1])['progressive']

    for state in (end, middle):
        resumed = make(4)
        resumed.load_state_dict(state)
        # mmengine begins the epoch anew: the first batch comes again.
        resumed.compute([random(2, 4, seed=7)], [], views[0])
        got = resumed.compute([random(2, 4, seed=6)], [], views[1])['progressive']
        assert torch.equal(got, expected) and got != 0
    # The first batch's targets are those of the epoch before, not what was said in the meantime.
    resumed = make(4)
    resumed.load_state_dict(middle)
    read, _ = resumed.table.read(torch.tensor([0, 1]), torch.eye(4).double()[:2])
    torch.testing.assert_close(read, random(2, 4, seed=0).softmax(1))


def test_numbers_of_several_images_are_noticed():
    method = make(3)
    at_epoch(0)
    method.compute([random(2, 3)], [], class_view([0, 1], [0, 1]))
    method.compute([random(2, 3)], [], class_view([2, 1], [0, 1]))
    at_epoch(1)
    with pytest.raises(ConfigError, match=r'1 times.*IndexedDataset'):
        method.compute([random(2, 3)], [], class_view([0, 1], [0, 1]))


def test_mixing_every_batch_is_noticed():
    method = make(3)
    for epoch in (0, 1):
        at_epoch(epoch)
        view = mixed_view(3)
        for i, sample in enumerate(view.data_samples):
            sample.set_metainfo(dict(sample_idx=i))
        if epoch == 0:
            method.compute([random(3, 3)], [], view)
    with pytest.raises(ConfigError, match='below 1'):
        method.compute([random(3, 3)], [], view)


def test_bad_numbers_and_loops():
    method = make(3)
    with pytest.raises(ConfigError, match='num_samples: must be an integer of at least 7, got 6'):
        method.compute([random(1, 3)], [], class_view([0], [6]))
    with pytest.raises(ConfigError, match='sample_idx'):
        method.compute([random(1, 3)], [], class_view([0], [None]))
    at_epoch(0, 1)
    with pytest.raises(ConfigError, match='at least two'):
        method.compute([random(1, 3)], [], class_view([0]))


def distill(**arguments) -> dict:
    method = dict(type='mmkd.ProgressiveSelfKD', student='head.fc', num_samples=8, alpha=0.8)
    return dict(methods=dict(past=dict(method, **arguments)))


def test_batch_augments_of_mmpretrain_are_refused():
    from mmpretrain.models import RandomBatchAugment

    model = make_student('cls')
    model.data_preprocessor.batch_augments = RandomBatchAugment(dict(type='Mixup', alpha=1.0))
    from mmkd.models import distilled

    with pytest.raises(ConfigError, match=r'train_cfg\.augments'):
        distilled(model, **distill())


def everything(runner) -> dict:
    state = dict(runner.model.state_dict())
    state.update({f'distiller.{k}': v for k, v in runner.model.distiller.state_dict().items()})
    return state


def config(shapes, work_dir, **checkpoint):
    cfg = run_config('cls', shapes, work_dir, distill(top_k=2), epochs=3)
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform['type'] == 'RandomFlip':
            transform['prob'] = 0.0  # no OpenMMLab run restores the global generators
    cfg.default_hooks.checkpoint.update(checkpoint)
    return cfg


def test_resuming_equals_not_having_stopped(shapes, tmp_path):
    whole = train(config(shapes, tmp_path / 'whole'))
    cfg = config(shapes, tmp_path / 'cut')
    cfg.load_from, cfg.resume = str(tmp_path / 'whole' / 'epoch_1.pth'), True
    resumed = train(cfg)
    got, expected = everything(resumed), everything(whole)
    assert got.keys() == expected.keys()
    assert expected['distiller.methods.past.table.previous'].any()
    assert [k for k in expected if not torch.equal(got[k], expected[k])] == []


class Targets(Hook):
    """Keeps what the targets of the first step were made of."""

    previous = None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.previous is None:
            self.previous = runner.model.distiller.methods['past'].table.previous.clone()


def test_resuming_in_the_middle_of_an_epoch_has_the_targets_of_that_epoch(shapes, tmp_path):
    """Mmengine begins the epoch anew; what was said in its first half is no target yet."""
    train(config(shapes, tmp_path / 'whole', interval=2, by_epoch=False))
    files = [tmp_path / 'whole' / f'iter_{i}.pth' for i in (4, 6)]  # an epoch has four
    end, middle = (torch.load(file, weights_only=False)['distiller'] for file in files)
    name = 'methods.past.table.'
    assert torch.equal(middle[name + 'previous'], end[name + 'current'])
    assert not torch.equal(middle[name + 'current'], end[name + 'current'])
    cfg = config(shapes, tmp_path / 'cut')
    cfg.load_from, cfg.resume = str(files[1]), True
    resumed, targets = Runner.from_cfg(cfg), Targets()
    resumed.register_hook(targets)
    resumed.train()
    assert torch.equal(targets.previous, end[name + 'current'])
