"""Change valid configs at random and train them: each ends in one line, or trains the student.

Every round draws a row of the table in tests/support/contract_cases.py, makes one mistake in its
config (tests/support/mutations.py) and runs it as tools/train.py does, for one iteration. Failures
are tracebacks, runs of more than --limit seconds, and runs whose methods leave the student without
a gradient. The seed of a round is its number, so every failure can be repeated with --only.

    PYTHONPATH=tests python -m reliability.fuzz --rounds 500
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from support.contract_cases import CASES
from support.mutations import mutate
from support.tiny_models import SCOPES
from torch.utils.data import Dataset

import mmkd  # noqa: F401 (registers everything)
from mmkd.cli.train import train
from mmkd.utils import ConfigError, NonFiniteError, one_of
from mmkd.utils.errors import first_line

BY_NAME = {case.name: case for case in CASES}
LATE = ('mmkd.SnapshotSelfKD', 'mmkd.ProgressiveSelfKD')  # learn from the epoch before


@DATASETS.register_module()
class FuzzImages(Dataset):
    """The four images of a row of the contract table."""

    def __init__(self, case: str) -> None:
        one_of(list(BY_NAME), **{'train_dataloader.dataset.case': case})
        raw = BY_NAME[case].raw()
        self.items = [{k: v[i] for k, v in raw.items()} for i in range(4)]
        self.metainfo: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


def valid_config(name: str, folder: Path) -> dict[str, Any]:
    """Return the config of a run of a row."""
    case = BY_NAME[name]
    model = case.model()
    student = model.pop('type')
    distill = case.distill(folder)
    return dict(
        default_scope=SCOPES[case.task],
        model=dict(type='mmkd.Distilled', student=student, distill=distill, **model),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='FuzzImages', case=name),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2 if case.type in LATE else 1),
        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01), clip_grad=dict(max_norm=10.0)
        ),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=100),
            distill=dict(type='mmkd.DistillHook'),
        ),
    )


class Hang(BaseException):
    """A run takes too long."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise :class:`Hang` inside after some seconds."""

    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def forget() -> None:
    """Clear what runs leave behind in the process."""
    for kind in (MessageHub, DefaultScope, MMLogger, Visualizer):
        kind._instance_dict.clear()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def outcome(config: dict[str, Any], work_dir: Path, limit: int = 60) -> tuple[str, str]:
    """Run a config for one epoch of one iteration.

    Returns:
        ``'trained'``, ``'refused'``, ``'off'`` (no method has a weight), ``'warned'`` (the report
        of the first step explains why there is no gradient), or what is wrong:
        ``'traceback'``, ``'several lines'``, ``'hang'``, ``'no gradient'``; and the message.
    """
    torch.manual_seed(0)
    try:
        with limited(limit):
            cfg = Config(config)
            cfg.work_dir = str(work_dir)
            runner = train(cfg)
            return gradient(runner)
    except NonFiniteError as error:  # whose message lists what is not finite
        return 'refused', first_line(error)
    except (ConfigError, ImportError) as error:
        text = str(error)
        return ('refused' if len(text.splitlines()) == 1 else 'several lines'), text
    except Hang:
        return 'hang', ''
    except Exception:
        return 'traceback', traceback.format_exc()
    finally:
        forget()


def gradient(runner: Runner) -> tuple[str, str]:
    """Return whether the methods of a finished run have a gradient on the student."""
    model = runner.model
    distiller = getattr(model, 'distiller', None)
    if distiller is None or not any(distiller.weights().values()):
        return 'off', ''
    batch = pseudo_collate(list(map(runner.train_dataloader.dataset.__getitem__, range(4))))
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    total = [v.sum() for k, v in losses.items() if k.startswith('distill.') and '.loss_' in k]
    model.zero_grad()
    if sum(total).requires_grad:
        sum(total).backward()
    own = [p.grad for n, p in model.named_parameters() if 'distiller.' not in n]
    if any(g is not None and bool(g.any()) for g in own):
        return 'trained', ''
    report = Path(runner.work_dir, 'first_step.json')
    if report.is_file() and 'has a zero gradient' in report.read_text():
        return 'warned', ''
    return 'no gradient', str({k: float(v) for k, v in losses.items() if k.startswith('distill.')})


def rounds(
    task: str, numbers: range | list[int], folder: Path, limit: int = 60
) -> Iterator[tuple[int, str, str, str, str]]:
    """Yield number, row, change, outcome and message of every round."""
    names = [case.name for case in CASES if case.task == task]
    for number in numbers:
        rng = random.Random(f'{task} {number}')
        name = rng.choice(names)
        config, change = mutate(valid_config(name, folder), rng)
        with open(os.devnull, 'w') as null, redirect_stdout(null), redirect_stderr(null):
            found, message = outcome(config, folder / f'{task}{number}', limit)
        yield number, name, change, found, message


BAD = ('traceback', 'several lines', 'hang', 'no gradient')


def main() -> None:
    """Run and print what fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--rounds', type=int, default=500, help='of every task. Defaults to 500')
    add('--tasks', nargs='+', choices=SCOPES, default=list(SCOPES))
    add('--only', type=int, nargs='+', help='numbers of rounds')
    add('--limit', type=int, default=60, help='seconds of a round. Defaults to 60')
    add('--all', action='store_true', help='print every round')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    Runner._log_env = lambda *_: None
    failed = 0
    for task in args.tasks:
        counts: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            numbers = args.only or range(args.rounds)
            for number, name, change, found, message in rounds(
                task, numbers, Path(folder), args.limit
            ):
                counts[found] += 1
                if found in BAD or args.all or args.only:
                    print(f'{task} {number} {name}, {change}\n  {found}: {message}', flush=True)
        print(f'{task}: {dict(counts)}', flush=True)
        failed += sum(counts[kind] for kind in BAD)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
