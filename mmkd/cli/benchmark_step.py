"""The distillation tax: what a training step costs with and without distillation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from rich.console import Console
from rich.table import Table
from torch import nn

from mmkd.cli.measure import Candidate, measure
from mmkd.datasets.synthetic import make_batch
from mmkd.models.arguments import KEY, teacher_configs
from mmkd.models.distiller import Distiller
from mmkd.models.loading import build_plain, load_config, without_pretrained
from mmkd.utils.errors import ConfigError
from mmkd.utils.plain import find, is_distilled, learns_from_pairs, plain_config

TASKS = dict(mmdet='det', mmseg='seg', mmpretrain='cls')
PARTS = ('teacher', 'methods', 'backward', 'optimizer')


class Bench:
    """Builds the candidates of one config with random weights, on one batch.

    Args:
        cfg: A distillation config. Its teachers get random weights: neither checkpoints nor data
            are needed, and the cost is the same.
        device: Where everything runs.
        size: Height and width of the images.
        batch_size: Images N per step.
        amp: Whether the student trains under autocast.
        folder: Where the teachers' random weights are written.
    """

    def __init__(
        self,
        cfg: Config,
        device: torch.device,
        size: tuple[int, int],
        batch_size: int,
        amp: bool,
        folder: Path,
    ) -> None:
        self.cfg = cfg
        self.device = device
        self.amp = amp
        task = TASKS[cfg.default_scope]
        if task == 'seg':  # mmseg's preprocessor crops and pads to this
            for node in (cfg, cfg.model):
                if node.get('data_preprocessor') is not None:
                    node.data_preprocessor.size = size
        self.plain_cfg = plain_config(cfg)
        with_random_teachers(cfg, folder)
        self.batch = make_batch(
            task,
            num=batch_size,
            size=size,
            num_classes=find(cfg.model, 'num_classes'),
            channels=cfg.model.backbone.get('in_channels', 3),
            masks=find(cfg.model, 'mask_head') is not None,
            paired=learns_from_pairs(cfg),
        )

    def model(self, cfg: Config) -> nn.Module:
        """Build a model, initialised, in training mode."""
        config = ConfigDict(without_pretrained(cfg.model.to_dict()))
        if cfg.get('data_preprocessor') is not None:
            config.setdefault('data_preprocessor', cfg.data_preprocessor)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(config)
            model.init_weights()
        if self.device.type == 'cpu':
            model = revert_sync_batchnorm(model)
        return model.to(self.device).train()

    def step(self, cfg: Config, model: nn.Module) -> Callable[[], None]:
        """Return a whole training step: preprocessing, losses, backward, optimizer."""
        config = ConfigDict(cfg.optim_wrapper)
        if self.amp:
            config.type = 'AmpOptimWrapper'
        optimizer = build_optim_wrapper(model, config)

        def run() -> None:
            model.train_step(self.batch, optimizer)

        return run

    def candidates(self, name: str) -> list[Candidate]:
        """Return the plain student, its teachers alone and the distilled student."""
        plain = self.model(self.plain_cfg)
        distilled = self.model(self.cfg)
        distiller: Distiller = distilled.distiller
        with torch.no_grad():
            data = distilled.data_preprocessor(self.batch, True)

        def teach() -> None:
            for teacher in distiller.teachers.values():
                if teacher.reader is not None and teacher.reader.taps:
                    teacher(data['inputs'], data['data_samples'])

        found = [Candidate('plain student', self.step(self.plain_cfg, plain), plain)]
        if distiller.teachers:
            found.append(Candidate(f'{name}: teacher alone', teach))
        found.append(Candidate(name, self.step(self.cfg, distilled), distilled))
        return found


def with_random_teachers(cfg: Config, folder: Path) -> None:
    """Give every teacher of a config random weights, in place."""
    for number, (_, one, _) in enumerate(teacher_configs(cfg.model.distill.get('teacher'))):
        model = build_plain(load_config(one['config'], KEY)[0], KEY)
        model.init_weights()
        checkpoint = folder / f'teacher{number}.pth'
        torch.save(model.state_dict(), checkpoint)
        one['checkpoint'] = str(checkpoint)  # type: ignore[index]


def benchmark(
    configs: list[str],
    device: str = 'cpu',
    size: tuple[int, int] = (320, 320),
    batch_size: int = 2,
    repeat: int = 15,
    warmup: int = 3,
    amp: bool = False,
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Measure the distillation steps of configs that share a student.

    Args:
        configs: Paths of distillation configs, or of studies (``.yml``), whose rows with a teacher
            or a mixer are measured. Each plain student is measured once.
        device: ``'cpu'`` or ``'cuda'``. Defaults to ``'cpu'``.
        size: Height and width of the images. Defaults to (320, 320).
        batch_size: Images per step. Defaults to 2.
        repeat: Measured steps. Defaults to 15.
        warmup: Steps before the first measured one. Defaults to 3.
        amp: Autocast for the student. Defaults to False.
        options: Overrides of every config. Defaults to None.

    Returns:
        One row for each candidate: name, median seconds, relative spread, tax (ratio to the plain
        student's step), memory in MiB, and the seconds of the parts.

    Raises:
        ConfigError: A config is none of distillation.
    """
    MMLogger.get_instance('benchmark', log_level='ERROR')
    where = torch.device(device)
    groups: dict[str, list[Candidate]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, path, own_options) in enumerate(rows_of(configs)):
            cfg = Config.fromfile(path)
            cfg.merge_from_dict({**own_options, **(options or {})})
            parts = Path(folder) / str(index)
            parts.mkdir()
            bench = Bench(cfg, where, size, batch_size, amp, parts)
            found = bench.candidates(name)
            group = groups.setdefault(repr(bench.plain_cfg.model), found[:1])
            group += found[1:]
    rows = []
    for group in groups.values():
        measure(group, where, repeat, warmup)
        plain = group[0].median
        rows += [
            dict(
                name=c.name,
                seconds=c.median,
                spread=c.spread,
                tax=c.median / plain,
                saved_mib=c.saved_mib,
                peak_mib=c.peak_mib,
                parts=c.parts,
            )
            for c in group
        ]
    return rows


def rows_of(paths: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield name, config and options of every distillation step that is to be measured.

    Raises:
        ConfigError: A config is none of distillation.
    """
    for path in paths:
        if Path(path).suffix in ('.yml', '.yaml'):
            for row in yaml.safe_load(Path(path).read_text())['rows']:
                options = row.get('options', {})
                if is_distilled(Config.fromfile(row['config'])) and options.get(KEY, True):
                    yield row['name'], row['config'], options
        elif is_distilled(Config.fromfile(path)):
            yield f'{Path(path).parent.name}/{Path(path).stem}', path, {}
        else:
            raise ConfigError('config', f'{path} is no distillation config')


def print_rows(rows: list[dict[str, Any]], console: Console | None = None) -> None:
    """Print the rows of :func:`benchmark` as a table."""
    table = Table(title='Distillation tax', title_justify='left')
    table.add_column('step', no_wrap=True)
    for column in ('median s', '± %', 'tax', 'saved MiB', 'peak MiB', *(f'{p} s' for p in PARTS)):
        table.add_column(column, justify='right')
    for row in rows:
        memory = [row['saved_mib'], row['peak_mib']]
        table.add_row(
            row['name'],
            f'{row["seconds"]:.4f}',
            f'{100 * row["spread"]:.0f}',
            f'{row["tax"]:.2f}',
            *('' if value is None else f'{value:.0f}' for value in memory),
            *(f'{row["parts"][p]:.4f}' if p in row['parts'] else '' for p in PARTS),
        )
    (console or Console(width=160)).print(table)
