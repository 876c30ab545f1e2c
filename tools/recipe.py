"""Train in stages: plain configs one after the other, as a YAML file lists them.

Every stage is a run of tools/train.py; $name in its options stands for the checkpoint of an earlier
stage of that name. A stage whose checkpoint is there is skipped and an interrupted one is resumed,
so the same command goes on. The stages of a study (configs/studies/*.yml) can be run as well.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmkd.cli.launch import run_tool
from mmkd.cli.stages import read_stages, run_stages
from mmkd.utils import ConfigError

TOOLS = Path(__file__).resolve().parent


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('recipe', help='path of a YAML file with stages')
    parser.add_argument('--gpus', type=int, help='processes of every stage, by dist_train.sh')
    parser.add_argument('--until', help='name of the last stage to run')
    return parser.parse_args()


def as_option(name: str, value: Any) -> str:
    """Return an option as ``--cfg-options`` takes it."""
    if isinstance(value, dict):
        raise ConfigError(f'options.{name}', 'is a mapping; write one option for each entry')
    return f'{name}={value}'.replace(' ', '') if isinstance(value, list) else f'{name}={value}'


def main() -> None:
    """Run the stages."""
    args = parse_args()
    try:
        entries = Config.fromfile(args.recipe).to_dict().get('stages')
    except (OSError, ValueError) as error:
        raise ConfigError('recipe', f'cannot read {args.recipe!r}: {error}') from error
    if not entries:
        raise ConfigError('recipe', f'{args.recipe!r} lists no stages')
    stages = read_stages(entries)
    names = [stage.name for stage in stages]
    if args.until is not None:
        if args.until not in names:
            raise ConfigError('--until', f'no stage {args.until!r}; there are {names}')
        stages = stages[: names.index(args.until) + 1]

    def train(config: str, options: dict[str, Any], work_dir: Path) -> Path:
        command = [sys.executable, str(TOOLS / 'train.py'), config]
        if args.gpus:
            command = ['bash', str(TOOLS / 'dist_train.sh'), config, str(args.gpus)]
        command += ['--work-dir', str(work_dir)]
        last = work_dir / 'last_checkpoint'
        if last.exists():
            command.append('--resume')
        if options:
            command += ['--cfg-options', *(as_option(*item) for item in options.items())]
        print(' '.join(command), flush=True)
        process = subprocess.run(command, env={'PYTHON': sys.executable, **os.environ})
        if process.returncode:
            raise ConfigError('recipe', f'{config} failed; see {work_dir}')
        return Path(last.read_text().strip())

    for name, checkpoint in run_stages(stages, train).items():
        print(f'{name}: {checkpoint}')


if __name__ == '__main__':
    run_tool(main)
