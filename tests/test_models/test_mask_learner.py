"""The mask stage: tokens learn on a teacher that stays as it is, and are all that is saved."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from support.helpers import (
    CONFIGS,
    build,
    find,
    make_batch,
    plain_dict,
    read_config,
    task_of,
    tiny_teacher,
)
from support.tiny_models import preprocessed, teacher_config, weights_hash

from mmkd.functional import dice_diversity
from mmkd.methods.maskd import load_tokens
from mmkd.models import MaskLearner, MaskTokens
from mmkd.utils import ConfigError

FILES = sorted((CONFIGS / 'maskd' / 'masks').glob('*.py'))
TAPS = dict(det='neck', seg='decode_head.conv_seg', cls='backbone')


def learner_of(task, folder, **kwargs):
    torch.manual_seed(0)
    kwargs = {'tap': TAPS[task], 'num_tokens': 3, **kwargs}
    return MaskLearner(teacher=teacher_config(task, folder), **kwargs)


# Tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('token_weights', [False, True])
def test_a_map_is_multiplied_by_its_weighted_masks(token_weights):
    torch.manual_seed(0)
    module = MaskTokens(5, 3, token_weights).double()
    module.tokens.data.mul_(100)
    x = torch.randn(2, 5, 4, 6).double()
    kept, masks = module(x)
    weights = module.weights(x)
    assert masks.shape == (2, 3, 4, 6) and (weights is not None) == token_weights
    if token_weights:
        assert weights.shape == (2, 3)
        torch.testing.assert_close(weights.sum(1), torch.ones(2).double())
    expected = torch.zeros_like(x)
    for n in range(2):
        for m in range(3):
            weight = float(weights[n, m]) if token_weights else 1.0
            expected[n] += weight * masks[n, m] * x[n]
    torch.testing.assert_close(kept, expected)


# Learning -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('task', ['det', 'seg', 'cls'])
def test_tokens_move_and_the_teacher_stays(task, tmp_path):
    model = learner_of(task, tmp_path).train()
    teacher = model.teacher.model
    before = weights_hash(teacher)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01))
    batch = make_batch(task, num_classes=5 + (task == 'seg'))
    logs = [model.train_step(batch, optimizer) for _ in range(8)]
    assert all(torch.isfinite(v).all() for log in logs for v in log.values())
    assert float(logs[-1]['loss']) < float(logs[0]['loss'])
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, start[name])]
    assert sorted(moved) == sorted(start)
    assert weights_hash(teacher) == before
    assert not any(m.training for m in teacher.modules())
    assert all(p.grad is None for p in teacher.parameters())


def test_losses_are_the_teachers_on_masked_maps_and_the_overlap(tmp_path):
    model = learner_of('seg', tmp_path, dice_weight=0.5)
    teacher = model.teacher.model
    inputs, samples = preprocessed(model, 'seg')
    losses = model(inputs, samples, mode='loss')
    handle = teacher.decode_head.conv_seg.register_forward_hook(
        lambda m, args, out: model.mask_tokens[0](out)[0]
    )
    expected = teacher(inputs, samples, mode='loss')
    handle.remove()
    logits = teacher(inputs, samples, mode='tensor')
    assert torch.equal(losses['decode.loss_ce'], expected['decode.loss_ce'])
    assert not torch.equal(
        losses['decode.loss_ce'], teacher(inputs, samples, mode='loss')['decode.loss_ce']
    )
    overlap = dice_diversity(model.mask_tokens[0].masks(logits).flatten(2))
    torch.testing.assert_close(losses['loss_dice'], 0.5 * overlap)


@pytest.mark.parametrize('levels', [None, (0, 2), (-1,)])
def test_only_the_chosen_levels_are_masked(levels, tmp_path):
    model = learner_of('det', tmp_path, levels=levels)
    teacher = model.teacher.model
    inputs, _ = preprocessed(model, 'det')
    with torch.no_grad():
        plain = teacher.extract_feat(inputs)
        with model.masked() as overlaps:
            masked = teacher.extract_feat(inputs)
    chosen = [i % 5 for i in (levels or range(5))]
    assert len(model.mask_tokens) == len(overlaps) == len(chosen)
    for i, (a, b) in enumerate(zip(plain, masked)):
        if i in chosen:
            torch.testing.assert_close(b, model.mask_tokens[chosen.index(i)](a)[0])
        assert torch.equal(a, b) == (i not in chosen)


def test_the_checkpoint_holds_the_tokens_alone(tmp_path):
    model = learner_of('det', tmp_path, levels=(0, 1))
    state = model.state_dict()
    assert state and all(name.startswith('mask_tokens.') for name in state)
    assert {id(p) for p in model.parameters()} == {id(p) for p in model.mask_tokens.parameters()}
    torch.save(dict(state_dict=state), tmp_path / 'tokens.pth')
    loaded = load_tokens(str(tmp_path / 'tokens.pth'), [16, 16], 'key')
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, state[f'mask_tokens.{name}'])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_finite_under_autocast(dtype, tmp_path):
    model = learner_of('det', tmp_path)
    inputs, samples = preprocessed(model, 'det')
    with torch.autocast('cpu', dtype=dtype):
        total, _ = model.parse_losses(model(inputs, samples, mode='loss'))
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_evaluation_is_that_of_the_masked_teacher(tmp_path):
    model = learner_of('seg', tmp_path, num_tokens=1, token_weights=False).eval()
    model.mask_tokens[0].tokens.data.zero_()  # σ(0) = ½ everywhere
    inputs, samples = preprocessed(model, 'seg')
    with torch.no_grad():
        half = model(inputs, samples, mode='tensor')
        torch.testing.assert_close(half, model.teacher.model(inputs, samples, mode='tensor') / 2)


@pytest.mark.parametrize(
    ('kwargs', 'key'),
    [
        (dict(levels=(7,)), 'levels'),
        (dict(levels=(0, -1)), 'levels'),
        (dict(num_tokens=0), 'num_tokens'),
        (dict(tap='nekc'), 'tap'),
        (dict(tap='head.fc'), 'tap'),
    ],
)
def test_bad_arguments(kwargs, key, tmp_path):
    with pytest.raises(ConfigError, match=rf'^model\.{key}'):
        learner_of('cls', tmp_path, **kwargs)


# Configs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_config_builds_steps_saves(path, tmp_path):
    cfg = Config.fromfile(path)
    task = task_of(cfg)
    model_config = plain_dict(cfg.model)
    teacher_cfg = read_config(cfg.model.teacher.config)
    model_config['teacher'] = tiny_teacher(teacher_cfg, tmp_path)
    size = dict(det=128, seg=(64, 128))[task]
    if task == 'seg':
        preprocessor = plain_dict(teacher_cfg.model.data_preprocessor)
        model_config['data_preprocessor'] = {**preprocessor, 'size': size}
    model = build(model_config, cfg.default_scope).train()
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01))
    batch = make_batch(task, size=size, num_classes=find(teacher_cfg.model, 'num_classes'))
    log = model.train_step(batch, optimizer)
    assert all(torch.isfinite(v).all() for v in log.values()) and 'loss_dice' in log
    assert len(model.mask_tokens) == len(cfg.model.get('levels') or [0])
    assert all(name.startswith('mask_tokens.') for name in model.state_dict())
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == cfg.train_cfg.val_interval
    assert not cfg.default_hooks.checkpoint.by_epoch and not cfg.log_processor.by_epoch


@pytest.mark.parametrize('path', sorted((CONFIGS / 'maskd').glob('*.py')), ids=lambda p: p.stem)
def test_every_maskd_config_has_its_mask_stage(path):
    """With the same teacher, tap and levels, writing the file that is read."""
    distill = Config.fromfile(path).model.distill
    for method in distill.methods.values():
        work_dir, file = method.tokens.rsplit('/', 1)
        stem = work_dir.removeprefix('work_dirs/masks/')
        stage = Config.fromfile(CONFIGS / 'maskd' / 'masks' / f'{stem}.py')
        assert file == f'iter_{stage.train_cfg.max_iters}.pth'
        assert stage.model.teacher == distill.teacher
        # The term of the auxiliary class maps takes the tokens of the main ones, as the authors'.
        assert stage.model.tap == method.teacher.replace('auxiliary_head', 'decode_head')
        assert stage.model.get('levels') == method.get('levels')
