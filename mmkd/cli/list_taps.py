"""What can be tapped in the models of a config."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from rich.console import Console
from rich.table import Table
from torch import nn

from mmkd.models.teacher import teacher_configs
from mmkd.taps import flatten, probe_batch
from mmkd.utils.errors import ConfigError
from mmkd.utils.loading import build_plain, load_config
from mmkd.utils.student_config import is_distilled, plain_config


def list_taps(
    cfg: Config,
    pattern: str | None = None,
    depth: int | None = None,
    size: tuple[int, int] | None = None,
    console: Console | None = None,
) -> None:
    """Print, for the student and every teacher, module paths with calls and output shapes.

    Args:
        cfg: A distillation config, or a plain one, of which the only model is listed.
        pattern: Regular expression that a path has to contain. Defaults to None, all.
        depth: Largest number of parts of a path. Defaults to None, no limit.
        size: Height and width of the images. Defaults to None, the config's ``probe_size``.
        console: Where to print. Defaults to None, the terminal.

    Raises:
        ConfigError: A config is wrong, the pattern is none, or a model cannot run images so small.
    """
    try:
        matches = re.compile(pattern or '').search
    except re.error as error:
        raise ConfigError('--filter', f'{pattern!r} is no regular expression: {error}') from error
    MMLogger.get_instance('list_taps', log_level='ERROR')
    # Paths are there to be copied: nothing is cut, whatever the width of the terminal.
    console = console or Console(width=200)
    distill = (cfg.model.get('distill') or {}) if is_distilled(cfg) else {}
    size = size or tuple(distill.get('probe_size', (128, 128)))
    for name, model in models_of(cfg, distill):
        table = Table(
            title=f'{name}: {type(model).__name__}, images of {size[0]}×{size[1]}',
            title_justify='left',
        )
        table.add_column('module', no_wrap=True)
        table.add_column('type', no_wrap=True)
        table.add_column('calls', justify='right')
        table.add_column('output shapes (batch of 2)', overflow='fold')
        for path, kind, calls, shapes in outputs_of(model, size, name):
            if matches(path) and (depth is None or path.count('.') < depth):
                table.add_row(path, kind, str(calls), shapes)
        console.print(table)


def models_of(cfg: Config, distill: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the student and the teachers of a config with their names, without any weights."""
    yield 'student' if distill else 'model', build_plain(plain_config(cfg), 'model')
    for name, teacher, key in teacher_configs(distill.get('teacher')):
        if 'config' not in teacher:
            raise ConfigError(key, 'a teacher is dict(config=…, checkpoint=…)')
        label = f'teacher {name}'.strip()
        yield label, build_plain(load_config(teacher['config'], key)[0], key)


@torch.no_grad()
def outputs_of(
    model: nn.Module, size: tuple[int, int], name: str
) -> list[tuple[str, str, int, str]]:
    """Return path, type, number of calls and output shapes of every module that is called.

    Raises:
        ConfigError: The model cannot run images of this size.
    """
    calls: dict[str, int] = {}
    shapes: dict[str, list[str]] = {}

    def hook_for(path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            calls[path] = calls.get(path, 0) + 1
            shapes.setdefault(path, []).extend(
                '×'.join(map(str, t.shape)) or 'scalar' for t in flatten(output)
            )

        return hook

    model = revert_sync_batchnorm(model).eval()
    for path, module in model.named_modules():
        if path:
            module.register_forward_hook(hook_for(path))
    inputs, samples = probe_batch(model, size)
    try:
        model(inputs, samples, mode='tensor')
    except RuntimeError as error:
        raise ConfigError(
            '--size', f'the {name} cannot run images of {size[0]}×{size[1]}: {error}'
        ) from error
    return [
        (path, type(module).__name__, calls[path], shorten(shapes[path]))
        for path, module in model.named_modules()
        if path in calls
    ]


def shorten(shapes: list[str]) -> str:
    """Join shapes, counting repetitions."""
    runs: list[tuple[str, int]] = []
    for shape in shapes:
        if runs and runs[-1][0] == shape:
            runs[-1] = (shape, runs[-1][1] + 1)
        else:
            runs.append((shape, 1))
    return ' '.join(shape if n == 1 else f'{shape} ({n}x)' for shape, n in runs) or 'no tensor'
