"""Train each kind of stateful method for some hundred steps and measure what grows.

Tiny models on generated images, the table of tests/support/stateful.py, one process per row.
After a tenth of the steps, when caches are warm, resident memory (KiB), Python objects, tensors and
open files are counted at equal intervals. The slope is that of a straight line through the counts.

    PYTHONPATH=tests python -m reliability.growth [ROWS]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from support import stateful
from support.runs import make_data

from mmkd.models.teacher import hash_of
from mmkd.utils.student_config import plain_config

COUNTS = 20


class Count(Hook):
    """Counts what could grow."""

    priority = 'LOWEST'

    def __init__(self, steps: int) -> None:
        self.begin = steps // 10
        self.every = max((steps - self.begin) // COUNTS, 1)
        self.seen: list[tuple[int, ...]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Count, where it is due."""
        if runner.iter < self.begin or (runner.iter - self.begin) % self.every:
            return
        gc.collect()
        objects = gc.get_objects()
        tensors = sum(issubclass(type(o), torch.Tensor) for o in objects)
        resident = int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGESIZE')
        files = len(os.listdir('/proc/self/fd'))
        self.seen.append((runner.iter, resident // 1024, len(objects), tensors, files))


def work(name: str, steps: int, data: Path, folder: Path, plain: bool = False) -> None:
    """Train one row, or its plain student, in this process and write the counts."""
    log = os.open(folder / f'{name}.log', os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    Runner._log_env = lambda *_: None  # it would start compilers
    cfg = stateful.config(name, data, folder / 'teachers', folder / name, epochs=max(steps // 4, 2))
    units = steps // 4  # epochs of four iterations
    if 'max_iters' in cfg.train_cfg:
        units = cfg.train_cfg.max_iters = steps
    # The first checkpoint fills buffers that stay, so it comes before the first count.
    cfg.default_hooks.checkpoint.update(interval=max(units // 16, 1), max_keep_ckpts=2)
    cfg.default_hooks.logger.interval = 50
    cfg.visualizer = dict(type='Visualizer', vis_backends=[])
    runner = Runner.from_cfg(plain_config(cfg) if plain else cfg)
    teachers = [] if plain else list(runner.model.distiller.teachers.values())
    before = [hash_of(teacher.model) for teacher in teachers]
    count = Count(steps)
    runner.register_hook(count)
    runner.train()
    same = before == [hash_of(teacher.model) for teacher in teachers]
    (folder / f'{name}.json').write_text(json.dumps(dict(seen=count.seen, same=same)))


HEAD = """| state | MiB at first | KiB | objects | tensors | files | teacher |
|---|---|---|---|---|---|---|"""


def row(
    name: str, steps: int, data: Path, folder: Path, plain: bool = False
) -> tuple[str, list[float], bool]:
    """Train one row, or its plain student, in a child process.

    Returns:
        Its line of the table, the slopes of a hundred steps, whether the teachers are the same.
    """
    pid = os.fork()
    if pid == 0:
        try:
            work(name, steps, data, folder, plain)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    out = folder / f'{name}.json'
    if not out.exists():
        raise SystemExit((folder / f'{name}.log').read_text()[-3000:])
    found = json.loads(out.read_text())
    seen = np.array(found['seen'], dtype=float)
    slopes = [100 * np.polyfit(seen[:, 0], seen[:, i], 1)[0] for i in range(1, seen.shape[1])]
    grown = ' | '.join(f'{slope:+.1f}' for slope in slopes)
    same = 'same' if found['same'] else 'CHANGED'
    return f'| {name} | {seen[0, 1] / 1024:.0f} | {grown} | {same} |', slopes, found['same']


def main() -> None:
    """Print one line for each row: what a hundred steps add."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('rows', nargs='*', help=f'some of {", ".join(stateful.TABLE)}; all')
    parser.add_argument('--steps', type=int, default=400)
    parser.add_argument('--plain', action='store_true', help='without distillation, to compare')
    args = parser.parse_args()
    torch.set_num_threads(1)
    MMLogger.get_instance('growth', log_level='ERROR')
    print(HEAD)
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder) / 'data')
        for name in args.rows or stateful.TABLE:
            print(row(name, args.steps, data, Path(folder), args.plain)[0], flush=True)
    print('The slopes are those of a hundred steps.')


if __name__ == '__main__':
    main()
