"""Test the teacher of a distillation config exactly as distillation runs it.

The images come from the student's pipeline and data preprocessor, renormalized for the teacher
where necessary, in the teacher's precision; the metric is the student's. A value far below the
published one means that the teacher does not work in this setup.
"""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mmkd.cli.common import distill_config, load_config, make_parser
from mmkd.cli.explain import explained
from mmkd.cli.inputs import check_data
from mmkd.models.teacher import teacher_configs
from mmkd.utils.errors import ConfigError, did_you_mean
from mmkd.utils.student_config import plain_config, required


def main() -> None:
    """Test and print the metrics."""
    parser = make_parser(__doc__, config=True)
    add = parser.add_argument
    add('--work-dir', help='folder for the log')
    add('--split', choices=['test', 'val'], default='test', help='Defaults to test')
    add('--teacher', help='name of the teacher, if the config has several')
    args = parser.parse_args()
    cfg = load_config(args)
    if args.work_dir is None:
        cfg.work_dir = str(Path(cfg.work_dir) / 'teacher')
    run = teacher_run_config(cfg, args.split, args.teacher)
    check_data(run, 'test_dataloader')
    with explained(run):
        metrics = Runner.from_cfg(run).test()
    if is_main_process():
        for name, value in metrics.items():
            print(f'{name}: {value}')


def teacher_run_config(cfg: Config, split: str = 'test', name: str | None = None) -> Config:
    """Return the config of a test run of a distillation config's teacher.

    Raises:
        ConfigError: There is no such teacher or split.
    """
    distill = distill_config(cfg)
    teachers = {n: (c, key) for n, c, key in teacher_configs(distill.get('teacher'))}
    if not teachers:
        raise ConfigError('model.distill.teacher', 'the config has no teacher to test')
    if name is None and len(teachers) == 1:
        name = next(iter(teachers))
    if name not in teachers:
        what = f'no teacher {name!r}' if name else 'there are several teachers'
        raise ConfigError('--teacher', f'{what}{did_you_mean(name or "", teachers)}')
    for part in ('dataloader', 'evaluator'):
        required(cfg, f'{split}_{part}', f'the config has none, so no --split {split}')
    plain = plain_config(cfg)
    if split == 'val':
        plain.test_dataloader, plain.test_evaluator = plain.val_dataloader, plain.val_evaluator
        plain.test_cfg = dict()
    student = plain.model.to_dict()
    if plain.get('data_preprocessor'):
        student.setdefault('data_preprocessor', plain.pop('data_preprocessor').to_dict())
    config, key = teachers[name]
    plain.model = dict(
        type='mmkd.TeacherAlone',
        student=student,
        scope=plain.get('default_scope', 'mmengine'),
        teacher=config,
        key=key,
        probe_size=distill.get('probe_size'),
    )
    # Hooks such as EMA belong to the student.
    plain.custom_hooks, plain.load_from, plain.resume = [], None, False
    return plain
