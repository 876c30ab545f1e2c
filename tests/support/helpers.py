"""What several tests need: synthetic batches, reading configs, models made tiny."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmkd.datasets.synthetic import make_batch as make_batch
from mmkd.datasets.synthetic import sizes_of
from mmkd.utils.student_config import find as find

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
TASKS = dict(mmdet='det', mmseg='seg', mmpretrain='cls')
# Arguments of OpenMMLab modules that are widths, or groups of a width; in a tiny model they are
# divided by SCALE.
WIDTHS = (
    'base_channels',
    'channels',
    'channels_mlp_dims',
    'conv_out_channels',
    'embed_dims',
    'fc_out_channels',
    'feat_channels',
    'feedforward_channels',
    'in_channels',
    'mid_channels',
    'num_groups',
    'out_channels',
    'stem_channels',
    'tokens_mlp_dims',
)
SCALE = 8


# Configs ------------------------------------------------------------------------------------------


def read_config(name: str | Path, directory: Path = ROOT) -> Config:
    """Read a config: a path, relative to ``directory``, or one of a package (``mmdet::…``)."""
    return copy.deepcopy(read_once(str(name) if '::' in str(name) else str(directory / name)))


@cache
def read_once(name: str) -> Config:
    """Read a config that many tests look at; see :func:`read_config`."""
    import mmkd

    if name.startswith('mmkd::'):
        return Config.fromfile(mmkd.config(name.partition('::')[2]))
    return Config.fromstring(f'_base_ = {name!r}', '.py') if '::' in name else Config.fromfile(name)


def bases_of(path: Path) -> list[str]:
    """Return the ``_base_`` of a config file as it is written there."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            bases = ast.literal_eval(node.value)
            return [bases] if isinstance(bases, str) else list(bases)
    return []


def all_bases_of(path: Path) -> list[str]:
    """Return the bases of a config file and their own bases: names of packages and full paths."""
    bases: list[str] = []
    for base in bases_of(path):
        if '::' in base:
            bases.append(base)
        else:
            file = (path.parent / base).resolve()
            bases += [str(file), *all_bases_of(file)]
    return bases


def student_of(path: Path) -> Config:
    """Read the plain config that a distillation config extends, below its pair."""
    (base,) = bases_of(path)
    cfg = read_config(base, path.parent)
    return student_of(path.parent / base) if cfg.model.type == 'mmkd.Distilled' else cfg


def task_of(cfg: Config) -> str:
    """Return ``'det'``, ``'seg'`` or ``'cls'``."""
    return TASKS[cfg.default_scope]


# Tiny models --------------------------------------------------------------------------------------


def tiny(cfg: Config) -> dict[str, Any]:
    """Return a config's model, an eighth as wide where that is known, for one CPU.

    Known are ResNets, ResNeXts, and what mmpretrain describes by an ``arch``. The CIFAR backbones
    are small as they are.

    The kinds and the number of layers stay. Nothing is downloaded and BatchNorm is never
    synchronized.
    """
    model = plain_dict(cfg.model)
    if cfg.get('data_preprocessor') is not None:  # as the Runner does
        model.setdefault('data_preprocessor', plain_dict(cfg.data_preprocessor))
    kind = model['backbone']['type']
    if 'ResNe' in kind and not kind.startswith('mmkd.CIFAR'):  # ResNet, ResNetV1c, ResNeXt
        parts = {k: v for k, v in model.items() if k not in ('data_preprocessor', 'distill')}
        model.update(narrow(parts))
        backbone, original = model['backbone'], cfg.model.backbone
        backbone['base_channels'] = original.get('base_channels', 64) // SCALE
        stem = original.get('stem_channels') or original.get('base_channels', 64)
        backbone['stem_channels'] = stem // SCALE
        if 'in_channels' in original:  # those of the image
            backbone['in_channels'] = original.in_channels
        if 'groups' in original:  # a ResNeXt is as wide as its groups are many
            backbone['groups'] = original.groups // SCALE
    elif 'arch' in model['backbone']:  # a transformer, an MLP-Mixer, a ConvNeXt
        backbone = model['backbone']
        if isinstance(backbone['arch'], str):
            known = MODELS.get(f'{cfg.default_scope}.{backbone["type"]}')
            zoo = known.arch_zoo if hasattr(known, 'arch_zoo') else known.arch_settings
            backbone['arch'] = zoo[backbone['arch']]
        backbone['arch'] = narrow(backbone['arch'])
        model['head'] = narrow(model['head'])
    return model


def plain_dict(node: Any) -> Any:
    """Copy a config without pretrained weights and with BN for SyncBN."""
    if isinstance(node, Mapping):
        copied = {k: plain_dict(v) for k, v in node.items() if k != 'pretrained'}
        if copied.get('type') == 'SyncBN':
            copied['type'] = 'BN'
        init = copied.get('init_cfg')
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            del copied['init_cfg']
        return copied
    if isinstance(node, (list, tuple)):
        return type(node)(plain_dict(item) for item in node)
    return copy.deepcopy(node)


def narrow(node: Any, key: str = '') -> Any:
    """Divide every width by ``SCALE``."""
    if isinstance(node, Mapping):
        return {k: narrow(v, k) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(narrow(item, key) for item in node)
    if key in WIDTHS and isinstance(node, int) and not isinstance(node, bool):
        return max(node // SCALE, 1)
    return node


def build(model: Mapping[str, Any], scope: str) -> nn.Module:
    """Build a model in the scope of its package."""
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(ConfigDict(copy.deepcopy(dict(model))))


def tiny_teacher(cfg: Config, folder: Path, seed: int = 1) -> dict[str, Any]:
    """Save random weights of a tiny teacher.

    Returns:
        ``config`` and ``checkpoint``, to stand in ``model.distill.teacher``.
    """
    model = tiny(cfg)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        teacher = build(model, cfg.default_scope)
        teacher.init_weights()
        # Heads start almost alike; a teacher has to say something else than its student.
        for name, parameter in teacher.named_parameters():
            if name.endswith('bias'):
                parameter.data += 0.1 * torch.randn_like(parameter)
    checkpoint = folder / 'teacher.pth'
    torch.save(dict(state_dict=teacher.state_dict(), meta={}), checkpoint)
    return dict(
        config=dict(default_scope=cfg.default_scope, model=model), checkpoint=str(checkpoint)
    )


def tiny_tokens(method: Mapping[str, Any], teacher: Mapping[str, Any], folder: Path) -> str:
    """Save the tokens that a mask stage starts with, for a MasKD method; return the path."""
    learner = MODELS.build(
        dict(
            type='mmkd.MaskLearner',
            teacher=teacher,
            tap=method['teacher'],
            levels=method.get('levels'),
            num_tokens=2,
        )
    )
    checkpoint = folder / 'tokens.pth'
    torch.save(dict(state_dict=learner.state_dict()), checkpoint)
    return str(checkpoint)


def tiny_distilled(cfg: Config, folder: Path, size: Any = 128) -> tuple[dict[str, Any], Any]:
    """Make a distillation config tiny, teacher included.

    Args:
        cfg: A distillation config.
        folder: Where the teacher's weights are written.
        size: Side or (height, width) to which mmseg's preprocessor pads. Defaults to 128.

    Returns:
        The model's config, and the config of its plain student.
    """
    model = tiny(cfg)
    teacher = model['distill'].get('teacher')
    if teacher and 'config' in teacher:
        teacher.update(tiny_teacher(read_config(teacher['config']), folder))
    for name, one in (teacher or {}).items():
        if isinstance(one, dict) and 'checkpoint' in one:
            (folder / name).mkdir()
            one.update(tiny_teacher(read_config(one['config']), folder / name))
    vae = ((model['distill'].get('mixer') or {}).get('augmentor') or {}).get('vae')
    if vae:
        autoencoder = build(read_config(vae['config']).model, 'mmkd')
        vae['checkpoint'] = str(folder / 'vae.pth')
        torch.save(dict(state_dict=autoencoder.state_dict()), vae['checkpoint'])
    for method in model['distill']['methods'].values():
        if 'tokens' in method:
            method['tokens'] = tiny_tokens(method, teacher, folder)
        if 'num_samples' in method:  # what is remembered of each training image
            method['num_samples'] = 16
    if task_of(cfg) == 'seg':
        model['data_preprocessor']['size'] = sizes_of(size, 1)[0]
    student = {k: v for k, v in model.items() if k not in ('distill', 'student')}
    student['type'] = model['student']
    return model, student


def tensors_of(output: Any) -> list[Tensor]:
    """Return all tensors of a nested output."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return [tensor for item in output for tensor in tensors_of(item)]
    return []
