"""Kill runs again and again, resume them, and compare their results with undisturbed runs.

Tiny models on generated images, real Runners in processes of their own. Each row of the table in
tests/support/stateful.py is one kind of state. A kill is a signal from outside at a random time in
a random iteration; the next process resumes from the work directory, as ``tools/train.py --resume``
does.

    PYTHONPATH=tests python -m reliability.kill_and_resume [ROWS]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from support import stateful
from support.runs import make_data

import mmkd  # noqa: F401
from mmkd.models.teacher import hash_of

SIGNALS = dict(KILL=signal.SIGKILL, TERM=signal.SIGTERM)


class Report(Hook):
    """Tells the parent process when an iteration begins."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Write one byte."""
        os.write(self.pipe, b'.')


def everything(runner: Runner) -> dict[str, torch.Tensor]:
    """Return all that a run has learnt: student, adapters, method state, momenta."""
    state = tensors_in(runner.model.state_dict(), '')
    state |= tensors_in(runner.model.distiller.state_dict(), 'distiller')
    for name, parameter in runner.model.named_parameters():
        kept = runner.optim_wrapper.optimizer.state.get(parameter, {})
        state |= {f'{k} of {name}': v for k, v in kept.items() if v is not None}
    return {k: v.detach().clone() for k, v in state.items()}


def tensors_in(node: Any, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors and numbers of nested dicts and lists, such as an optimizer's state."""
    if isinstance(node, torch.Tensor):
        return {name: node}
    if isinstance(node, (int, float)):
        return {name: torch.tensor(node)}
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    found = {}
    for key, value in items:
        found |= tensors_in(value, f'{name}.{key}' if name else str(key))
    return found


def teacher_hashes(runner: Runner) -> list[str]:
    """Return what must not change: the hashes of the teachers' weights."""
    return [hash_of(teacher.model) for teacher in runner.model.distiller.teachers.values()]


def child(cfg, pipe: int, log: Path, out: Path) -> None:
    """Train in this process, and end it."""
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    code = 1
    try:
        Runner._log_env = lambda *_: None  # it would start compilers
        runner = Runner.from_cfg(cfg)
        runner.register_hook(Report(pipe))
        before = teacher_hashes(runner)
        runner.train()
        if teacher_hashes(runner) != before:
            raise RuntimeError('training has changed a teacher')
        torch.save(everything(runner), out)
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    os._exit(code)


def run(cfg, folder: Path, kill: tuple[signal.Signals, int] | None, wait: float) -> tuple[int, int]:
    """Train in a process; return its exit status and how many iterations it began."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        child(cfg, write, folder / 'log.txt', folder / 'final.pt')
    os.close(write)
    begun = 0
    while os.read(read, 1):
        begun += 1
        if kill and begun == kill[1]:
            time.sleep(wait)
            os.kill(pid, kill[0])
            kill = None
    os.close(read)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), begun


HEAD = """| state | iterations | killed | entries | differ |
|---|---|---|---|---|"""


def line(found: dict[str, Any]) -> str:
    """Return a line of the table."""
    note = ' (as documented)' if found['differ'] and found['name'] in stateful.EXCEPTIONS else ''
    return (
        f'| {found["name"]} | {found["iterations"]} | {", ".join(found["killed"])} | '
        f'{found["entries"]} | {len(found["differ"])}{note} |'
    )


def row(name: str, kinds: list[str], data: Path, folder: Path, draw: random.Random) -> dict:
    """Compare an undisturbed run with one that is killed by each of the signals in turn."""
    whole, cut = folder / name / 'whole', folder / name / 'cut'
    whole.mkdir(parents=True)
    cut.mkdir()
    teachers = folder / 'teachers'
    code, total = run(stateful.config(name, data, teachers, whole / 'run'), whole, None, 0)
    if code:
        raise SystemExit((whole / 'log.txt').read_text()[-3000:])
    left, killed = total, []
    for number in range(len(kinds) + 1):
        cfg = stateful.config(name, data, teachers, cut / 'run')
        cfg.resume = number > 0
        kill, wait = None, 0.0
        if number < len(kinds) and left > 1:
            kill = SIGNALS[kinds[number]], draw.randint(1, left)
            if kill[1] < left - 3:  # or the run would end before it is killed
                wait = draw.random() * 0.05
        code, begun = run(cfg, cut, kill, wait)
        if kill is None or code == 0:
            break
        expected = -9 if kill[0] == signal.SIGKILL else 143
        if code != expected:
            raise SystemExit(f'exit code {code}:\n{(cut / "log.txt").read_text()[-3000:]}')
        killed.append(f'{kinds[number]} at {total - left + begun}')
        last = cut / 'run' / 'last_checkpoint'
        file = torch.load(last.read_text(), weights_only=False) if last.exists() else None
        left = total - (file['meta']['iter'] if file else 0)
    if code:
        raise SystemExit((cut / 'log.txt').read_text()[-3000:])
    a, b = (torch.load(f / 'final.pt', weights_only=True) for f in (whole, cut))
    both = a.keys() & b.keys()
    differ = sorted(a.keys() ^ b.keys()) + [k for k in both if not torch.equal(a[k], b[k])]
    saved = Path((cut / 'run' / 'last_checkpoint').read_text())
    return dict(
        name=name, iterations=total, killed=killed, entries=len(a), differ=differ, saved=saved
    )


def main() -> None:
    """Print one line for each row; exit with 1 if one of them ends differently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('rows', nargs='*', help=f'some of {", ".join(stateful.TABLE)}; all')
    parser.add_argument('--signals', default='KILL,TERM,KILL', help='one after the other')
    parser.add_argument('--seed', type=int, default=None, help='of the moments of the kills')
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    torch.set_num_threads(1)
    MMLogger.get_instance('kill_and_resume', log_level='ERROR')
    print(f'seed {seed}\n{HEAD}')
    bad = False
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder) / 'data')
        for name in args.rows or stateful.TABLE:
            found = row(name, args.signals.split(','), data, Path(folder), draw)
            print(line(found), flush=True)
            if name not in stateful.EXCEPTIONS:
                bad |= bool(found['differ'])
                for entry in found['differ'][:3]:
                    print(f'  {entry}')
    sys.exit(bad)


if __name__ == '__main__':
    main()
