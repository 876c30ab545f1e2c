"""Train in stages: plain configs one after the other, as a YAML file lists them.

Every stage is a run of `mmkd train`; $name in its options stands for the checkpoint of the earlier
stage of that name. Finished stages are skipped and an interrupted one is resumed, so the same
command continues a recipe. The stages of a study (configs/studies/*.yml) can be run as well.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from mmkd.cli.common import make_parser, read_config
from mmkd.cli.stages import child_environment, read_stages, run_stages
from mmkd.utils import ConfigError, one_of
from mmkd.utils.compat import payload
from mmkd.utils.student_config import required


def main() -> None:
    """Run the stages."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('recipe', help='path of a YAML file with stages')
    add('--gpus', type=int, help='processes of every stage, by dist_train.sh')
    add('--until', help='name of the last stage to run')
    args = parser.parse_args()
    recipe = read_config(args.recipe, key='recipe')
    stages = read_stages(required(recipe, 'stages', f'{args.recipe!r} lists no stages'))
    names = [stage.name for stage in stages]
    if args.until is not None:
        stages = stages[: names.index(one_of(names, **{'--until': args.until})) + 1]

    def train(config: str, options: dict[str, Any], work_dir: Path) -> Path:
        command = [sys.executable, '-m', 'mmkd', 'train', config]
        if args.gpus:
            command = ['bash', str(payload('tools') / 'dist_train.sh'), config, str(args.gpus)]
        command += ['--work-dir', str(work_dir)]
        last = work_dir / 'last_checkpoint'
        if last.exists():
            command.append('--resume')
        if options:
            command += ['--cfg-options', *(format_option(*item) for item in options.items())]
        print(' '.join(command), flush=True)
        environment = {'PYTHON': sys.executable, **child_environment()}
        if subprocess.run(command, env=environment).returncode:
            raise ConfigError('recipe', f'{config} failed; see {work_dir}')
        return Path(last.read_text().strip())

    for name, checkpoint in run_stages(stages, train).items():
        print(f'{name}: {checkpoint}')


def format_option(name: str, value: Any) -> str:
    """Return an option as ``--cfg-options`` takes it."""
    if isinstance(value, dict):
        raise ConfigError(f'options.{name}', 'is a mapping; write one option for each entry')
    return f'{name}={value}'.replace(' ', '') if isinstance(value, list) else f'{name}={value}'
