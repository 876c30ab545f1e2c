"""DAFA: the policy's math, its steps, and that an identity changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from support.runs import run_config, train
from support.tiny_models import LOGITS, MIMIC, make_student, preprocessed, teacher_config
from support.views import mixed_view, plain_view, random
from torch import nn

from mmkd.functional import OPERATIONS, augment, relaxed_bernoulli, relaxed_choice
from mmkd.methods import CWD, FeatureMimic
from mmkd.methods.dafa import Draws, Policy
from mmkd.methods.plugins import build_method
from mmkd.models import SideLearner
from mmkd.utils import ConfigError

SHAPES = ((4, 3, 6, 6), (4, 2, 3, 3))
FROZEN = dict(type='mmkd.DAFA', probability=0.0, optimizer=None)


def policy(**arguments: Any) -> Policy:
    """Return a policy with different values everywhere, in fp64."""
    arguments = {**dict(operations=tuple(OPERATIONS), probability=0.5, magnitude=0.3, tau=1.0),
                 **arguments}  # fmt: skip
    made = Policy(**arguments).double()
    with torch.no_grad():
        for seed, parameter in enumerate(made.parameters()):
            parameter += 0.1 * random(*parameter.shape, seed=seed)
    return made


def maps(seed: int = 0) -> list[torch.Tensor]:
    return [random(*shape, seed=seed + i) for i, shape in enumerate(SHAPES)]


def wrapped(method: type = FeatureMimic, **refine: Any) -> Any:
    """Return a built method with DAFA, in fp64."""
    refine = dict(type='mmkd.DAFA', **refine)
    config = dict(type=f'mmkd.{method.__name__}', student='a', teacher='b', refine=refine)
    made = build_method(config, 'm')
    made.build(nn.Module(), maps(), maps(1), {})
    for learner in made.modules():
        if isinstance(learner, SideLearner):
            learner.module.double()
    return made.double()


def at(iteration: int) -> None:
    MessageHub.get_current_instance().update_info('iter', iteration)


# Math ------------------------------------------------------------------------------------------


def test_relaxed_mixture_equals_loops_and_so_do_its_gradients():
    made, teacher = policy(tau=0.7), maps()
    draws = Draws(4, len(made.pairs), 'key')
    got = made(teacher, draws)
    c = relaxed_choice(made.logits, draws.choice.double(), 0.7)
    b = relaxed_bernoulli(made.probability, draws.applied.double())
    expected = []
    for level, x in enumerate(teacher):
        images = []
        for n in range(4):
            total = torch.zeros_like(x[:1])
            for i, pair in enumerate(made.pairs):
                numbers = [draws.numbers(level, k, o, x)[n : n + 1] for k, o in enumerate(pair)]
                sub = augment(x[n : n + 1], pair, made.magnitude[i], b[n : n + 1, i], numbers)
                total = total + c[n, i] * sub
            images.append(total)
        expected.append(torch.cat(images))
    gradients = []
    for result in (got, expected):
        loss = sum((x**3).sum() for x in result)
        gradients.append(torch.autograd.grad(loss, list(made.parameters())))
    for a, e in zip((*got, *gradients[0]), (*expected, *gradients[1]), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)
    assert all(g.any() for g in gradients[0])


def test_a_cold_mixture_is_what_the_student_sees():
    """The policy learns of the same draws that the student's targets are made of."""
    made, teacher = policy(tau=1e-4), maps()
    seen = []
    for iteration in range(4):
        at(iteration)
        draws = Draws(4, len(made.pairs), 'key')
        sampled = made.sample(teacher, draws, made.state_dict())
        for a, e in zip(sampled, made(teacher, draws), strict=True):
            torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)
        assert not any(x.requires_grad for x in sampled)
        seen.append(sampled[0])
    assert not torch.equal(seen[0], seen[1])
    at(0)  # the draws depend on the iteration, and on nothing that comes before
    again = made.sample(teacher, Draws(4, len(made.pairs), 'key'), made.state_dict())
    assert torch.equal(again[0], seen[0])
    other = made.sample(teacher, Draws(4, len(made.pairs), 'other key'), made.state_dict())
    assert not torch.equal(other[0], seen[0])


def test_images_draw_by_the_learnt_probabilities():
    made = Policy(('gain', 'noise', 'blur'), 0.25, 1.0, 1.0)
    with torch.no_grad():
        made.logits[1] = 2.0  # gain and blur
    x = random(20000, 1, 1, 2).float()
    (result,) = made.sample([x], Draws(len(x), 3, 'key'), made.state_dict())
    unchanged = (result == x).flatten(1).all(1).float().mean()
    assert float(unchanged) == pytest.approx(0.75**2, abs=0.02)
    # Blurring alone makes the two cells more alike and keeps their sum.
    blurred = ((result.sum(3) - x.sum(3)).abs() < 1e-6).flatten() & (result != x).flatten(1).any(1)
    share = made.logits.softmax(0)
    expected = float((share[1] + share[2]).detach()) * 0.25 * 0.75
    assert float(blurred.float().mean()) == pytest.approx(expected, abs=0.02)


def test_strength_is_the_weighted_mean():
    made = policy()
    weights = made.logits.softmax(0)
    expected = 0.0
    for i in range(len(made.pairs)):
        for k in (0, 1):
            expected += (
                float((weights[i] * made.probability[i, k] * made.magnitude[i, k]).detach()) / 2
            )
    assert float(made.strength()) == pytest.approx(expected, rel=1e-12)


# Learning ----------------------------------------------------------------------------------------


def test_a_step_descends_the_methods_loss_and_the_prior():
    method = wrapped(CWD, identity=0.3, magnitude=0.4, optimizer=dict(type='SGD', lr=0.1), every=2)
    student, teacher = [x.requires_grad_() for x in maps()], maps(1)
    learner = method.plugins['refine'].learner
    before = {k: v.clone() for k, v in learner.module.state_dict().items()}
    twin = Policy(tuple(OPERATIONS), 0.5, 0.4, 1.0).double()
    draws = Draws(4, len(twin.pairs), method.plugins['refine'].key)
    loss = method.method(student, twin(teacher, draws), plain_view(4))['cwd']
    objective = loss / loss.detach() + 0.3 * twin.strength()
    gradients = torch.autograd.grad(objective, list(twin.parameters()))
    method.compute(student, teacher, plain_view(4))['cwd'].backward()
    for (name, value), gradient in zip(learner.module.named_parameters(), gradients):
        torch.testing.assert_close(value.detach(), before[name] - 0.1 * gradient)
        assert gradient.any() and value.grad is None
    # The student's gradient is that of the loss on what was drawn with the new values.
    augmented = learner.module.sample(teacher, draws, learner.module.state_dict())
    twins = [x.detach().requires_grad_() for x in student]
    method.method(twins, augmented, plain_view(4))['cwd'].backward()
    for a, e in zip(student, twins, strict=True):
        torch.testing.assert_close(a.grad, e.grad)
    moved = learner.module.logits.detach().clone()
    at(1)
    method.compute(student, teacher, plain_view(4))
    assert torch.equal(learner.module.logits, moved)
    at(2)
    method.compute(student, teacher, plain_view(4))
    assert not torch.equal(learner.module.logits, moved)


def test_it_learns_what_the_student_can_follow_and_stays_in_bounds():
    """This student equals the blurred teacher: blurring lowers the loss, noise does not."""
    method = wrapped(
        operations=('blur', 'noise'),
        magnitude=0.5,
        identity=0.0,
        every=1,
        optimizer=dict(type='Adam', lr=0.05),
    )
    found = method.plugins['refine'].learner.module
    for iteration in range(80):
        at(iteration)
        teacher = maps(10 + 2 * iteration)
        one = torch.tensor(1.0)
        student = [OPERATIONS['blur'].apply(t, one, t) for t in teacher]
        method.compute(student, teacher, plain_view(4))
        for name, (low, high) in (('probability', (0.05, 0.95)), ('magnitude', (0.0, 1.0))):
            value = found.get_parameter(name)
            assert value.min() >= low and value.max() <= high
    (blur, noise) = (found.probability * found.magnitude)[0].tolist()
    assert blur > 0.6 and noise < 0.05


def test_the_prior_prefers_no_change():
    method = wrapped(identity=50.0, every=1, optimizer=dict(type='Adam', lr=0.05))
    for iteration in range(30):
        at(iteration)
        method.compute(maps(), maps(1), plain_view(4))
    assert float(method.plugins['refine'].learner.module.strength()) < 0.01
    assert float(method.monitored['policy_strength']) < 0.01


# In a distilled student --------------------------------------------------------------------------


def without_flips(cfg: Any) -> Any:
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform['type'] == 'RandomFlip':
            transform['prob'] = 0.0  # no OpenMMLab run restores the global generators
    return cfg


def distill(task: str, folder: Any, refine: Any, **arguments: Any) -> dict:
    method = dict(MIMIC[task], refine=refine, **arguments)
    return dict(teacher=teacher_config(task, folder), methods=dict(feature=method))


def entries(state: dict) -> dict[str, torch.Tensor]:
    """Flatten a distiller's state, that of a learner included."""
    flat = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            flat[name] = value
            continue
        flat.update({f'{name}.{k}': v for k, v in value['module'].items()})
        for index, momenta in value['optimizer']['state'].items():
            flat.update({f'{name}.{index}.{k}': v for k, v in momenta.items()})
    return flat


def unwrapped(name: str) -> str:
    """Return a name as it is without the composite of a method and its plug-ins."""
    return name.replace('.method.', '.')


@pytest.mark.slow
def test_frozen_at_identity_equals_plain_kd_bit_for_bit(shapes, tmp_path):
    states = []
    for name, refine in (('plain', None), ('frozen', FROZEN)):
        cfg = distill('det', tmp_path, refine)
        run = train(run_config('det', shapes, tmp_path / name, cfg, epochs=1))
        state = {**run.model.state_dict(), **run.model.distiller.state_dict()}
        states.append({unwrapped(name): value for name, value in state.items()})
    plain, frozen = states
    assert all(torch.equal(value, frozen[name]) for name, value in plain.items())
    learner = 'methods.feature.plugins.refine.learner._extra_state'
    assert set(frozen) - set(plain) == {learner}
    assert not frozen[learner]['module']['logits'].any()


@pytest.mark.slow
def test_resuming_equals_not_having_stopped(shapes, tmp_path):
    method = distill('det', tmp_path, dict(type='mmkd.DAFA', every=2))

    def config(name):
        return without_flips(run_config('det', shapes, tmp_path / name, method, epochs=3))

    whole = train(config('whole'))
    file = tmp_path / 'whole' / 'epoch_2.pth'
    torch.save(torch.load(file, weights_only=False)['distiller'], tmp_path / 'state.pt')
    assert torch.load(tmp_path / 'state.pt', weights_only=True)  # nothing but tensors and numbers
    cfg = config('cut')
    cfg.load_from, cfg.resume = str(file), True
    resumed = Runner.from_cfg(cfg)
    resumed.train()
    for part in ('model', 'distiller'):
        models = [r.model if part == 'model' else r.model.distiller for r in (whole, resumed)]
        a, b = (entries(model.state_dict()) for model in models)
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    fresh = make_student('det', **method)
    first = fresh.distiller.methods['feature'].plugins['refine'].learner.module
    learned = resumed.model.distiller.methods['feature'].plugins['refine'].learner.module
    assert all((a != b).any() for a, b in zip(first.parameters(), learned.parameters()))
    groups = resumed.optim_wrapper.param_groups
    assert not {id(p) for g in groups for p in g['params']} & {id(p) for p in learned.parameters()}


def test_a_students_file_and_its_parameters_know_nothing_of_it(tmp_path):
    model = make_student('cls', **distill('cls', tmp_path, dict(type='mmkd.DAFA')))
    without = make_student('cls', **distill('cls', tmp_path, None))
    names = {n for n, _ in without.named_parameters()}
    assert {unwrapped(n) for n, _ in model.named_parameters()} == names
    inputs, samples = preprocessed(model, 'cls')
    for _ in range(2):
        model(inputs, samples, mode='loss')
    assert {unwrapped(n) for n, _ in model.named_parameters()} == names
    assert list(model.state_dict()) == list(make_student('cls').state_dict())
    state = model.distiller.state_dict()
    extra = {'methods.feature.plugins.refine.learner._extra_state'}
    assert set(map(unwrapped, state)) - set(without.distiller.state_dict()) == extra


def test_in_a_part_of_another_method_and_on_mixed_images(tmp_path):
    part = {k: v for k, v in MIMIC['cls'].items() if k != 'type'}
    logits = {k: v for k, v in LOGITS['cls'].items() if k != 'type'}
    model = make_student(
        'cls',
        teacher=teacher_config('cls', tmp_path),
        mixer=dict(type='mmkd.PatchMix'),
        methods=dict(
            m=dict(
                type='mmkd.PatchMixSimulationKD',
                feature=dict(part, refine=dict(type='mmkd.DAFA')),
                logits=logits,
            )
        ),
    )
    inputs, samples = preprocessed(model, 'cls')
    model(inputs, samples, mode='loss')
    refine = model.distiller.methods['m'].parts['feature'].plugins['refine']
    assert refine.learner.module.logits.any()


def test_mixed_maps_are_what_is_augmented():
    method, view = wrapped(probability=1.0, optimizer=None), mixed_view(4)
    student, teacher = maps(), maps(1)
    inner = method.method
    found = method.plugins['refine'](inner, student, [view.simulate(t) for t in teacher], view)
    expected = inner(student, found, view)['mimic']
    torch.testing.assert_close(method.compute(student, teacher, view)['mimic'], expected)
    assert not torch.allclose(expected, inner(student, teacher, view)['mimic'])


@pytest.mark.parametrize(
    ('method', 'key', 'message'),
    [
        (dict(LOGITS['cls'], refine=dict(type='mmkd.DAFA')), 'refine', 'reads no maps'),
        (dict(MIMIC['cls'], refine=dict(type='mmkd.DAM')), r'refine\.type', 'is not a refinement'),
        (dict(MIMIC['cls'], refine=dict(type='mmkd.DAFA', p=1)), r'refine\.p', 'no such argument'),
        (dict(MIMIC['cls'], refine='mmkd.DAFA'), 'refine', 'a dict with a `type`'),
    ],
)
def test_bad_configs(method, key, message, tmp_path):
    with pytest.raises(ConfigError, match=rf'{key}: .*{message}'):
        make_student('cls', teacher=teacher_config('cls', tmp_path), methods=dict(m=method))


def test_methods_with_a_memory_are_refused(tmp_path):
    method = dict(
        type='mmkd.CIRKD',
        student='decode_head.bottleneck',
        teacher='decode_head.bottleneck',
        refine=dict(type='mmkd.DAFA'),
    )
    teacher = teacher_config('seg', tmp_path)
    with pytest.raises(ConfigError, match=r'm\.refine: CIRKD keeps state'):
        make_student('seg', teacher=teacher, methods=dict(m=method))
    method['refine'] = dict(FROZEN, probability=0.5)
    make_student('seg', teacher=teacher, methods=dict(m=method))
