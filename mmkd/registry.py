"""Registries of mmkd: children of mmengine's, in the scope ``mmkd``.

Distilled models, mixers and methods share ``MODELS``: a downstream project registers its own
mixer or method in its own child of mmengine's ``MODELS`` and names it in a config. Which of them
cannot be combined, and why, is decided here, too; ``docs/mixer-method-table.md`` lists it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry
from torch import nn

from mmkd.utils.errors import ConfigError, check_names, config_key, did_you_mean

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmkd', locations=['mmkd'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmkd', locations=['mmkd'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='mmkd', locations=['mmkd'])
DATA_SAMPLERS = Registry(
    'data sampler', parent=MMENGINE_DATA_SAMPLERS, scope='mmkd', locations=['mmkd']
)
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, scope='mmkd', locations=['mmkd'])
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='mmkd', locations=['mmkd'])

TASKS = dict(cls='classifiers', seg='segmenters', det='detectors')
_PACKAGES = dict(mmpretrain='cls', mmseg='seg', mmdet='det')
# What methods and mixers read that are for some tasks only.
_INPUTS = {
    ('cls',): 'one row of class logits, or one embedding, of each image',
    ('seg',): 'label maps',
    ('det',): 'boxes, or the branches of a detection head',
    ('cls', 'seg'): 'class logits of images or pixels',
}


def find_task(model: nn.Module) -> str | None:
    """Return ``'cls'``, ``'seg'`` or ``'det'`` for a model of mmpretrain, mmseg or mmdet."""
    for cls in type(model).__mro__:
        package = cls.__module__.partition('.')[0]
        if package in _PACKAGES:
            return _PACKAGES[package]
    return None


def refuse_task(part: Any, task: str | None) -> str | None:
    """Return why a method or a mixer does not go with a task.

    Args:
        part: The method or the mixer, or its class.
        task: A task, or None for a model of unknown task, which nothing refuses.

    Returns:
        The reason, without a subject, or None where they can be combined.
    """
    if task is None or task in part.tasks:
        return None
    read = _INPUTS.get(tuple(sorted(part.tasks)))
    listed = ' and '.join(name for key, name in TASKS.items() if key in part.tasks)
    return f'is for {listed}' + (f': it reads {read}' if read else '')


def refuse_mixer(method: Any, mixer: Any) -> str | None:
    """Return why a method does not go with a mixer, or with none; as in :func:`refuse_task`.

    Args:
        method: The method, or its class.
        mixer: The mixer, its class, or None.
    """
    if method.mixers == 'none' and mixer is not None:
        return 'compares whole images with one another and supports no mixer; remove one of the two'
    if method.mixers == 'pairs' and not getattr(mixer, 'pairs', False):
        return (
            "compares the members of pairs; use the mixer dict(type='mmkd.PatchSwap', …), with "
            'prob=0 to leave the images as they are'
        )
    return None


def build(config: Any, base: type, key: str) -> Any:
    """Build a mixer or a method, with errors that name the key.

    Raises:
        ConfigError: The type is unknown, is something else, or an argument does not exist.
    """
    name = config.get('type') if isinstance(config, Mapping) else None
    if name is None:
        raise ConfigError(key, f'must be a dict with a `type`, got {config!r}')
    found = MODELS.get(name) if isinstance(name, str) else name
    kind = base.__name__.lower()
    article = 'an' if kind[0] in 'aeiou' else 'a'
    if not is_a(found, base):
        known = [f'mmkd.{n}' for n, c in MODELS.module_dict.items() if is_a(c, base)]
        what = f'no {kind} {name!r}' if found is None else f'{name!r} is not {article} {kind}'
        hint = did_you_mean(str(name), known, 6)
        if found is None and '.' in name and not name.startswith('mmkd.'):
            hint = '; custom_imports must name the module that registers it'
        raise ConfigError(f'{key}.type', what + hint)
    arguments = {k: v for k, v in config.items() if k != 'type'}
    with config_key(key):
        check_names(arguments, arguments_of(found), found.__name__)
        try:
            built = found(**arguments)
        except TypeError as error:
            raise ConfigError('', str(error).replace('.__init__()', '')) from error
        except AttributeError as error:
            if 'before Module.__init__() call' not in str(error):
                raise
            raise ConfigError('', missing_super(found)) from error
        if isinstance(built, nn.Module) and '_modules' not in vars(built):
            raise ConfigError('', missing_super(found))
    for name, part in built.named_modules() if isinstance(built, nn.Module) else ():
        if isinstance(getattr(part, 'key', None), str):  # of the component, and of its parts
            part.key = f'{key}.{part.key}' if name else key
    return built


def missing_super(cls: type) -> str:
    """Return the error for a class that does not initialize its base."""
    return f'{cls.__name__}.__init__() must call super().__init__(…) first'


def arguments_of(cls: type) -> list[str]:
    """Return the names of a class's arguments, those that it passes on to its bases included."""
    names: list[str] = []
    for base in cls.__mro__:
        if '__init__' not in base.__dict__:
            continue
        parameters = list(inspect.signature(base.__dict__['__init__']).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return names


def is_a(value: Any, base: type) -> bool:
    """Whether a registered value is a subclass of ``base``."""
    return isinstance(value, type) and issubclass(value, base)
