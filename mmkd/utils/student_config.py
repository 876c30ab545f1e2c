"""The plain student config inside a distillation config."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmkd.utils.errors import ConfigError


def type_name(node: Any) -> str:
    """Return the type that a config node builds, by name, or an empty string."""
    kind = node.get('type') if isinstance(node, Mapping) else None
    if callable(kind):  # a class, or build_distilled
        return f'{kind.__module__}.{kind.__qualname__}'
    return kind if isinstance(kind, str) else ''


def is_distilled(cfg: Config) -> bool:
    """Whether a config's model is a distilled student."""
    name = type_name(cfg.get('model'))
    return name in ('mmkd.Distilled', 'Distilled') or (
        name.startswith('mmkd.') and name.endswith('.build_distilled')
    )


def plain_config(cfg: Config) -> Config:
    """Return the config of the plain student, which does not need mmkd.

    The model gets its own type back; ``distill``, mmkd's hooks, batch samplers, data set wrappers,
    metrics and ``custom_imports`` are removed. Without batches of pairs the student has
    :func:`plain_batch_size` images in a step. A config without distillation is returned as a copy.

    Raises:
        ConfigError: There is no model.
    """
    required(cfg, 'model')
    cfg = copy.deepcopy(cfg)
    if is_distilled(cfg):
        # The type comes first, as in hand-written configs.
        model = dict(type=cfg.model.pop('student'))
        model.update({k: v for k, v in cfg.model.items() if k not in ('type', 'distill')})
        cfg.model = model
    hooks = cfg.get('default_hooks') or {}
    saving: Any = hooks.get('checkpoint') or {}
    if is_mmkd(saving) and type_name(saving).endswith('.SafeCheckpointHook'):
        saving['type'] = 'CheckpointHook'
        saving.pop('stop_check', None)
    for name in [name for name, hook in hooks.items() if is_mmkd(hook)]:
        hooks.pop(name)
    if pairs_images(cfg):
        cfg.train_dataloader.batch_size = plain_batch_size(cfg)
        cfg.train_dataloader.pop('batch_sampler')
    dataset: Any = (cfg.get('train_dataloader') or {}).get('dataset')
    if is_mmkd(dataset) and 'dataset' in dataset:  # a wrapper
        cfg.train_dataloader.dataset = dataset['dataset']
    for name in ('custom_hooks', 'val_evaluator', 'test_evaluator'):
        parts = cfg.get(name)
        several = isinstance(parts, (list, tuple))
        kept = [part for part in parts if not is_mmkd(part)] if several else []
        if kept or (several and name == 'custom_hooks'):  # an evaluator is not left empty
            cfg[name] = kept
    if imports := cfg.get('custom_imports'):
        names = imports['imports']
        names = [names] if isinstance(names, str) else list(names)
        imports['imports'] = [name for name in names if name.split('.')[0] != 'mmkd']
        if not imports['imports']:
            cfg.pop('custom_imports')
    return cfg


def required(
    cfg: Mapping[str, Any] | Config, key: str, message: str = 'the config has none'
) -> Any:
    """Return the entry of a config at a key, such as ``'test_dataloader.dataset'``.

    Raises:
        ConfigError: It is missing or empty.
    """
    node: Any = cfg
    for name in key.split('.'):
        node = (node or {}).get(name)
    if not node:
        raise ConfigError(key, message)
    return node


def pairs_images(cfg: Config) -> bool:
    """Whether the training batches consist of same-class pairs."""
    return is_mmkd((cfg.get('train_dataloader') or {}).get('batch_sampler'))


def learns_from_pairs(cfg: Config) -> bool:
    """Whether distillation needs images of a batch, or objects in them, to share classes."""
    mixer = (cfg.model.get('distill') or {}).get('mixer') or {}
    return pairs_images(cfg) or mixer.get('type') == 'mmkd.PatchSwap'


def plain_batch_size(cfg: Config) -> int:
    """Return the images per step of a plain student with as many steps in an epoch.

    Half of the batch, unless one half of the images is left out in each epoch.
    """
    sampler = cfg.train_dataloader.batch_sampler
    drawn = sampler.get('anchors_per_epoch') or sampler.get('new_per_epoch') or 'all'
    return cfg.train_dataloader.batch_size // (2 if drawn == 'all' else 1)


def plain_options(cfg: Config) -> dict[str, Any]:
    """Return the ``--cfg-options`` that train the plain student of a config."""
    options: dict[str, Any] = {'model.distill': None}
    if pairs_images(cfg):
        options['train_dataloader.batch_sampler'] = None
        options['train_dataloader.batch_size'] = plain_batch_size(cfg)
    return options


def is_mmkd(node: Any) -> bool:
    """Whether a config node builds a component of mmkd."""
    name = type_name(node)
    return name.startswith('mmkd.') or name == 'DistillHook'


def mmkd_keys(node: Any, key: str = '') -> Iterator[str]:
    """Yield the config keys of mmkd's components."""
    if is_mmkd(node):
        yield key
    if isinstance(node, Mapping):
        items: Any = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for name, value in items:
        yield from mmkd_keys(value, f'{key}.{name}'.lstrip('.'))


def find(node: Any, key: str) -> Any:
    """Return the first value of ``key`` in a nested config, or None."""
    if isinstance(node, Mapping):
        if node.get(key) is not None:
            return node[key]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        found = (find(item, key) for item in node)
        return next((value for value in found if value is not None), None)
    return None
