"""List the modules of student and teacher that can be tapped, with their output shapes.

Each model runs one small forward pass, as in distillation. The teacher's weights are not needed.
Containers are listed, too: they hold modules that are called and are never called themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import chain, groupby
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mmkd.cli.common import distill_config, load_config, make_parser
from mmkd.cli.explain import explained
from mmkd.models.teacher import teacher_configs
from mmkd.probe import probe
from mmkd.taps import flatten
from mmkd.utils.errors import ConfigError, refuse
from mmkd.utils.heads import run_heads
from mmkd.utils.loading import build_plain
from mmkd.utils.loading import load_config as load_teacher_config
from mmkd.utils.student_config import plain_config, required

# mmdet calls methods of most heads, so that hooks on them would never run.
CONTAINER = 'container, never called: tap a module inside'


def main() -> None:
    """Print one table for each model."""
    parser = make_parser(__doc__, config=True)
    add = parser.add_argument
    add('--filter', help='list the module paths that match this regular expression')
    add('--depth', type=int, help='list paths of at most this many parts')
    add(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the images; without it, model.distill.probe_size or one that the model takes',
    )
    args = parser.parse_args()
    cfg = load_config(args, needed=('config',))
    with explained(cfg):
        list_taps(cfg, args.filter, args.depth, args.size and tuple(args.size))


def list_taps(
    cfg: Config,
    pattern: str | None = None,
    depth: int | None = None,
    size: tuple[int, int] | None = None,
    console: Console | None = None,
) -> None:
    """Print, for the student and every teacher, module paths with calls and output shapes.

    Raises:
        ConfigError: A config or the pattern is invalid, or the images are too small for a model.
    """
    with refuse('--filter', f'{pattern!r} is no regular expression', re.error):
        matches = re.compile(pattern or '').search
    required(cfg, 'model')
    MMLogger.get_instance('list_taps', log_level='ERROR')
    # Paths are there to be copied: nothing is truncated, whatever the width of the terminal.
    console = console or Console(width=200)
    distill = distill_config(cfg)
    size = size or distill.get('probe_size')
    for name, model in build_models(cfg, distill):
        (height, width), rows = run_modules(model, size)
        title = f'{name}: {type(model).__name__}, images of {height}×{width}'
        table = Table(title=title, title_justify='left')
        table.add_column('module', no_wrap=True)
        table.add_column('type', no_wrap=True)
        table.add_column('calls', justify='right')
        table.add_column('output shapes (batch of 2)', overflow='fold')
        for path, kind, calls, shapes in rows:
            if matches(path) and (depth is None or path.count('.') < depth):
                table.add_row(path, kind, str(calls or ''), shapes)
        console.print(table)


def build_models(cfg: Config, distill: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the student and the teachers of a config by name, with random weights."""
    yield 'student' if distill else 'model', build_plain(plain_config(cfg), 'model')
    for name, teacher, key in teacher_configs(distill.get('teacher')):
        if 'config' not in teacher:
            raise ConfigError(key, 'must be dict(config=…, checkpoint=…)')
        label = f'teacher {name}'.strip()
        yield label, build_plain(load_teacher_config(teacher['config'], key)[0], key)


@torch.no_grad()
def run_modules(
    model: nn.Module, size: tuple[int, int] | None
) -> tuple[tuple[int, int], list[tuple[str, str, int, str]]]:
    """Return the size of the images; path, type, calls and output shapes of every module.

    Modules that are not called are left out, unless they contain such that are.

    Raises:
        ConfigError: The model cannot run images of the size.
    """
    outputs: dict[str, list[list[str]]] = {}  # the shapes of every call

    def record(path: str, module: nn.Module, args: Any, output: Any) -> None:
        shapes = ['×'.join(map(str, t.shape)) or 'scalar' for t in flatten(output)]
        outputs.setdefault(path, []).append(shapes)

    model = revert_sync_batchnorm(model).eval()
    for path, module in model.named_modules():
        if path:
            module.register_forward_hook(partial(record, path))

    def run(inputs: Tensor, samples: Any, whole: bool) -> None:
        outputs.clear()
        try:
            run_heads(model, inputs, samples)
        except Exception:
            if whole or not outputs:
                raise

    size, _ = probe([model], size, run, key='--size')
    parents = {path[:end] for path in outputs for end, char in enumerate(path) if char == '.'}
    for path in parents - outputs.keys():
        outputs[path] = []
    return size, [
        (path, type(module).__name__, len(calls), shorten(calls) if calls else CONTAINER)
        for path, module in model.named_modules()
        if (calls := outputs.get(path)) is not None
    ]


def shorten(calls: list[list[str]]) -> str:
    """Join the shapes of all calls; repetitions are counted."""
    runs = [(shape, len(list(group))) for shape, group in groupby(chain.from_iterable(calls))]
    return ' '.join(shape if n == 1 else f'{shape} ({n}x)' for shape, n in runs) or 'no tensor'
