"""Train random methods for a given time, with random kills, and look for what changes or grows.

Each round draws a row of the table in tests/support/stateful.py. Most rounds kill its run one to
four times, resume it and compare it to an undisturbed one (kill_and_resume.py); every --every-th
trains it for --steps steps and measures what grows (growth.py). Checked: entries are equal bit for
bit, a checkpoint has the keys of the plain student, the teachers' hashes have not changed, and
memory and open files do not grow.

    PYTHONPATH=tests python -m reliability.soak --minutes 20
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from reliability import growth, kill_and_resume
from support import stateful
from support.runs import make_data

from mmkd.utils.loading import build_plain

# What a hundred steps may add: resident KiB and open files.
KIB, FILES = 256, 0.1


def check_keys(name: str, saved: Path, data: Path, folder: Path) -> list[str]:
    """Return the entries that a checkpoint has and the plain student has not, or vice versa."""
    cfg = stateful.config(name, data, folder / 'teachers', folder / 'unused')
    plain = build_plain(cfg, 'soak').state_dict().keys()
    return sorted(torch.load(saved, weights_only=False)['state_dict'].keys() ^ plain)


def killed(name: str, data: Path, folder: Path, draw: random.Random) -> tuple[str, bool, Counter]:
    """Do one round with kills; return its line, whether all was right, and the signals sent."""
    kinds = draw.choices(list(kill_and_resume.SIGNALS), k=draw.randint(1, 4))
    found = kill_and_resume.row(name, kinds, data, folder, draw)
    wrong = check_keys(name, found['saved'], data, folder)
    line = kill_and_resume.line(found) + (f' keys: {wrong}' if wrong else '')
    right = not wrong and (not found['differ'] or name in stateful.EXCEPTIONS)
    return line, right, Counter(kill.split()[0] for kill in found['killed'])


def grown(name: str, steps: int, data: Path, folder: Path) -> tuple[str, bool]:
    """Do one long round; return its line and whether all was right."""
    line, slopes, same = growth.row(name, steps, data, folder)
    right = same and slopes[0] <= KIB and slopes[-1] <= FILES
    return line + ('' if right else ' GROWS'), right


def main() -> None:
    """Print a line for each round; exit with 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('rows', nargs='*', help='some rows of the table; all')
    parser.add_argument('--minutes', type=float, default=20.0)
    parser.add_argument('--steps', type=int, default=2000, help='of a long round')
    parser.add_argument('--every', type=int, default=5, help='every how many rounds one is long')
    parser.add_argument('--seed', type=int, help='of rows, signals and moments')
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    draw = random.Random(seed)
    torch.set_num_threads(1)
    MMLogger.get_instance('soak', log_level='ERROR')
    print(f'seed {seed}\nkilled: {kill_and_resume.HEAD.splitlines()[0]}')
    print(f'grown:  {growth.HEAD.splitlines()[0]}', flush=True)
    end = time.monotonic() + 60 * args.minutes
    rounds, wrong, signals = Counter(), 0, Counter()
    with tempfile.TemporaryDirectory() as root:
        data = make_data(Path(root) / 'data')
        while time.monotonic() < end:
            name = draw.choice(args.rows or list(stateful.TABLE))
            with tempfile.TemporaryDirectory(dir=root) as folder:
                if sum(rounds.values()) % args.every == args.every - 1:
                    kind, (line, right) = 'grown', grown(name, args.steps, data, Path(folder))
                else:
                    kind = 'killed'
                    line, right, sent = killed(name, data, Path(folder), draw)
                    signals += sent
            rounds[kind] += 1
            wrong += not right
            print(f'{kind + ":":7} {line}', flush=True)
    print(
        f'{rounds["killed"]} rounds killed by {signals["KILL"]} KILL and {signals["TERM"]} TERM, '
        f'{rounds["grown"]} rounds of {args.steps} steps, {wrong} rounds wrong'
    )
    sys.exit(wrong > 0)


if __name__ == '__main__':
    main()
