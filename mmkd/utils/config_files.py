"""Config files: found by path or name, text or pure Python, with the files of their teachers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmkd.utils.compat import DISTRIBUTIONS, payload, require
from mmkd.utils.errors import ConfigError, did_you_mean, first_line
from mmkd.utils.student_config import is_distilled, type_name

MIXED = (
    'a text config (_base_) and a pure-Python one (read_base, imports) cannot inherit from each '
    'other in mmengine; write both in one style'
)


def config_path(name: str, key: str = 'config') -> str:
    """Return the path of a config.

    Args:
        name: The path itself, or ``<package>::<path below configs/>`` of mmkd, mmdet, mmseg or
            mmpretrain. A path that starts with ``configs/`` and does not exist is one of mmkd's, so
            that its studies run from any folder.
        key: Key or argument with the name, for error messages. Defaults to ``'config'``.

    Raises:
        ConfigError: The package has no such config; the nearest names are listed.
        ImportError: The package is not installed.
    """
    package, _, rest = name.partition('::')
    if not rest:
        shipped = payload('configs').parent / name
        elsewhere = name.startswith('configs/') and not os.path.exists(name) and shipped.is_file()
        return str(shipped) if elsewhere else name
    if package == 'mmkd':
        root = payload('configs')
    else:
        require(package, f'{key} {name!r}')
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(key, f'{name!r}: no package {package!r} is installed')
        root = Path(spec.submodule_search_locations[0], '.mim', 'configs')
    if not (root / rest).is_file():
        known = [str(path.relative_to(root)) for path in root.rglob('*.py')]
        raise ConfigError(key, f'{package} has no config {rest!r}{did_you_mean(rest, known)}')
    return str(root / rest)


def parse_config(name: str, key: str = 'config') -> Config:
    """Read a config or a YAML file, see :func:`config_path`; the result is a text config.

    A config of an OpenMMLab package without ``default_scope`` gets that package's.

    Raises:
        ConfigError: The file does not exist or cannot be parsed.
    """
    path = config_path(name, key)
    try:
        cfg = Config.fromfile(path)
        if path.endswith('.py') and Config._is_lazy_import(path):
            cfg = as_text(cfg)
    except Exception as error:  # a config is code, which may raise anything
        reason = first_line(error, getattr(error, 'strerror', None))
        if 'in the inheritance chain' in str(error):
            reason = MIXED
        elif not isinstance(error, (OSError, ValueError, SyntaxError)):
            reason = f'{type(error).__name__}: {reason}'
        raise ConfigError(key, f'cannot read {name!r}: {reason}') from error
    package = name.partition('::')[0]
    if package in DISTRIBUTIONS and not cfg.get('default_scope'):
        cfg.default_scope = package
    return cfg


def as_text(cfg: Config) -> Config:
    """Return a pure-Python config with the names of the objects that it imports.

    ``default_scope``, which such a config can do without, is the package of the model.
    """
    content: dict[str, Any] = named(cfg.to_dict())
    model = content.get('model')
    student = model.get('student') if isinstance(model, Mapping) else None
    package = type_name(model if student is None else dict(type=student)).partition('.')[0]
    if not content.get('default_scope') and package in DISTRIBUTIONS:
        content['default_scope'] = package
    return Config(content, filename=cfg.filename)


def named(node: Any) -> Any:
    """Return a config with ``'mmkd.<class>'`` in place of the module paths of mmkd's classes."""
    if isinstance(node, Mapping):
        return {
            k: registered(v) if k == 'type' and isinstance(v, str) else named(v)
            for k, v in node.items()
        }
    return type(node)(map(named, node)) if isinstance(node, (list, tuple)) else node


def registered(kind: str) -> str:
    """Return the registered name of a class of mmkd, from the path by which it is imported."""
    parts = kind.split('.')
    if parts[0] != 'mmkd':
        return kind
    return f'mmkd.{"Distilled" if parts[-1] == "build_distilled" else parts[-1]}'


def locate_teachers(cfg: Config, needed: tuple[str, ...] = ('config',)) -> None:
    """Find, in place, relative paths of teachers that are not in the working directory.

    They are looked up beside the config file.

    Args:
        cfg: A config that was read from a file.
        needed: Which of ``'config'`` and ``'checkpoint'`` must exist. Defaults to the config.

    Raises:
        ConfigError: A needed file is in neither place.
    """
    folder = os.path.dirname(os.path.abspath(cfg.filename or ''))
    for teacher, key in teachers_in(cfg):
        for name in ('config', 'checkpoint'):
            path = teacher.get(name)
            elsewhere = not isinstance(path, str) or '::' in path or '://' in path
            if elsewhere or path in ('', 'auto') or os.path.exists(path):
                continue
            beside = os.path.join(folder, path)
            if os.path.exists(beside):
                teacher[name] = beside
            elif name in needed:
                raise ConfigError(
                    f'{key}.{name}',
                    f'{path!r} exists neither in the working directory {os.getcwd()!r} nor beside '
                    f'the config in {folder!r}',
                )


def teachers_in(cfg: Config) -> Iterator[tuple[Any, str]]:
    """Yield the teachers of a config with their keys; what is no teacher is left out."""
    model = cfg.get('model')
    if not isinstance(model, Mapping):
        return
    owner, key = (model.get('distill'), 'model.distill') if is_distilled(cfg) else (model, 'model')
    teacher = owner.get('teacher') if isinstance(owner, Mapping) else None
    several = teacher if isinstance(teacher, Mapping) else {}
    if 'config' in several:
        yield several, f'{key}.teacher'
        return
    for name, one in several.items():
        if isinstance(one, Mapping):
            yield one, f'{key}.teacher.{name}'
