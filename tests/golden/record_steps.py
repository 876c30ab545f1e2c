"""Record the losses of three steps of every shipped config.

``python tests/golden/record_steps.py [-k EXPRESSION]``; pytest's ``-k`` selects configs.

Rows change only where a change of math is meant; name it in the commit.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

FILE = Path(__file__).parent / 'golden_steps.json'


def main() -> None:
    """Run the tests of the configs and keep their losses."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'pytest', '-q', 'tests/test_configs.py', '-n', 'auto']
        command += ['-k', 'test_builds_steps_saves', *sys.argv[1:]]
        subprocess.run(command, env={**os.environ, 'MMKD_RECORD': folder}, check=True)
        found = {
            p.stem.replace('@', '/'): json.loads(p.read_text()) for p in Path(folder).iterdir()
        }
    known = json.loads(FILE.read_text())['steps'] if FILE.exists() else {}
    machine = dict(torch=torch.__version__, cpu=torch.backends.cpu.get_cpu_capability())
    rows = dict(sorted({**known, **found}.items()))
    lines = ',\n'.join(f'  {json.dumps(name)}: {json.dumps(row)}' for name, row in rows.items())
    head = f'"recorded_with": {json.dumps(machine)},\n "steps": '
    FILE.write_text(f'{{{head}{{\n{lines}\n}}}}\n')
    print(f'{len(found)} of {len(rows)} configs recorded in {FILE}')


if __name__ == '__main__':
    main()
