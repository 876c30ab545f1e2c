"""Table, pictures and files of the quickstart."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.registry import DATASETS, DefaultScope
from rich.console import Console
from rich.table import Column, Table

from mmkd.cli.common import Run, distill_config
from mmkd.cli.drawing import Palette, class_legend, draw_sample
from mmkd.cli.export_student import export_student
from mmkd.utils.loading import build_plain, load_strictly
from mmkd.utils.student_config import plain_config

Results = Mapping[str, Mapping[str, Any]]
STUDENT = 'student'
DISTILL = 'distill.'
# Of each task: column title, name of the metric, factor. The first one decides.
METRICS = dict(
    det=(('mAP', 'coco/bbox_mAP', 100), ('mAP50', 'coco/bbox_mAP_50', 100)),
    seg=(('mIoU', 'mIoU', 1), ('mAcc', 'mAcc', 1)),
    cls=(('top-1', 'accuracy/top1', 1),),
)
TASKS = tuple(METRICS)
# Titles of methods whose name is not that of their folder.
TITLES = dict(pskd='PS-KD', kd='KD', ips='IPS')
MIXED = 'mixed images are harder: the distilled loss is higher for the same skill'
NOTE = (
    'Both students have the same data, schedule, iterations and seed. It is one seed on a small '
    'data set: a difference of about a point means nothing.'
)


def report(
    task: str,
    method: str,
    root: Path,
    runs: Mapping[str, Run],
    results: Results,
    seed: int,
    seconds: float,
    console: Console,
) -> None:
    """Print the table, and write it with the pictures, the numbers and the student.

    ``runs`` and their ``results`` (see :func:`~mmkd.cli.stages.run_once`) are by name, ``method``
    is the name of the distilled one, and ``root`` is the folder for the files.
    """
    titles = {name: name for name in runs}
    titles[method] = f'student + {TITLES.get(method, method)}'
    models = {name: plain_config(run.read()) for name, run in runs.items()}
    parameters = {
        name: sum(p.numel() for p in build_plain(cfg, 'model').parameters())
        for name, cfg in models.items()
    }
    gain = difference(task, method, results)
    columns = ['model', *(title for title, _, _ in METRICS[task])]
    columns += ['parameters', 'training time', 'KD − student']
    rows = []
    for name in runs:
        values = [metric(results[name], key, factor) for _, key, factor in METRICS[task]]
        cells = ['–' if math.isnan(value) else f'{value:.1f}' for value in values]
        cells += [f'{parameters[name] / 1e6:.2f} M', f'{results[name]["seconds"]:.0f} s']
        shown = name == method and not math.isnan(gain)
        rows.append([titles[name], *cells, f'{gain:+.1f}' if shown else ''])
    heading = f'Quickstart, {task}: test split of the generated data, seed {seed}'
    lines = [f'| {" | ".join(row)} |' for row in (columns, ['---'] * len(columns), *rows)]
    (root / 'table.md').write_text('\n'.join([f'# {heading}', '', *lines, '', f'{NOTE}\n']))
    numbers = {name: dict(results[name], parameters=parameters[name]) for name in runs}
    content = dict(task=task, method=method, seed=seed, difference=gain, runs=numbers)
    dump(content, root / 'results.json', indent=1)
    mixed = bool(distill_config(runs[method].read()).get('mixer'))
    folders = {titles[name]: root / 'runs' / name for name in runs}
    plot_losses(folders, root / 'losses.png', MIXED if mixed else '')
    trained = {titles[n]: (models[n], str(results[n]['checkpoint'])) for n in runs}
    plot_predictions(trained, root / 'predictions.png', images=6 if task == 'cls' else 4)
    weights, config = export_student(
        results[method]['checkpoint'], root / 'student.pth', models[method], hashed=False
    )
    table = Table('model', *(Column(name, justify='right') for name in columns[1:]), title=heading)
    for row in rows:
        table.add_row(*row)
    console.print('', table, NOTE, sep='\n')
    console.print(
        f'\n{seconds:.0f} s in all. {root} has table.md, results.json, losses.png and '
        f'predictions.png, and the distilled student as {weights.name} and {config.name}, which '
        'need no mmkd.',
        highlight=False,
    )


def metric(result: Mapping[str, Any], key: str, factor: float) -> float:
    """Return a test metric; NaN if the evaluation gave none (no box was predicted)."""
    return result['test'].get(key, float('nan')) * factor


def difference(task: str, method: str, results: Results) -> float:
    """Return the deciding metric of the distilled student minus that of the plain one."""
    _, key, factor = METRICS[task][0]
    return metric(results[method], key, factor) - metric(results[STUDENT], key, factor)


def read_losses(work_dir: Path) -> tuple[list[int], dict[str, list[float]]]:
    """Return the iterations and the losses in the newest log of a run.

    Losses of the task are summed as ``'task'``, distillation losses keep their names.
    """
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    iterations: list[int] = []
    losses: dict[str, list[float]] = {}
    for line in files[-1].read_text().splitlines() if files else []:
        row = json.loads(line)
        names = [k for k in row if 'loss' in k]
        if not names:
            continue  # an evaluation
        iterations.append(int(row.get('iter') or row['step']))
        # 'loss' is the sum of all, unless the task itself has one of that name and no other.
        own = [k for k in names if k != 'loss' and not k.startswith(DISTILL)] or ['loss']
        losses.setdefault('task', []).append(sum(row[k] for k in own))
        for name in names:
            if name.startswith(DISTILL):
                values = losses.setdefault(name, [])
                values += [float('nan')] * (len(iterations) - 1 - len(values))  # it began later
                values.append(row[name])
    for values in losses.values():
        values += [float('nan')] * (len(iterations) - len(values))
    return iterations, losses


def plot_losses(runs: Mapping[str, Path], out: Path, note: str = '') -> None:
    """Plot the task's losses of several runs, and the distillation losses beside them.

    The note stands below the title of the task's losses.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout='constrained')
    task, distill = figure.subplots(1, 2)
    for name, path in runs.items():
        iterations, losses = read_losses(path)
        if 'task' in losses:
            task.plot(iterations, losses['task'], label=name, linewidth=1.2)
        for key, values in losses.items():
            if key.startswith(DISTILL):
                label = key.removeprefix(DISTILL).replace('.loss_', ': ')
                distill.plot(iterations, values, label=label, linewidth=1.2)
    task.set_title(f'Task loss\n{note}' if note else 'Task loss', fontsize=9 if note else 12)
    task.set_xlabel('iteration')
    distill.set(title='Distillation losses, weighted', xlabel='iteration')
    for axes in (task, distill):
        axes.set_yscale('log')
        # 0.25 instead of 2.5 × 10⁻¹.
        axes.yaxis.set_major_formatter('{x:g}')
        axes.yaxis.set_minor_formatter('{x:g}')
        axes.tick_params(which='both', labelsize=8)
        axes.grid(alpha=0.3, which='both')
        if axes.lines:
            axes.legend(fontsize=8)
    figure.savefig(out, dpi=130)


def plot_predictions(models: Mapping[str, tuple[Config, str]], out: Path, images: int = 4) -> None:
    """Draw images, evenly spread over the test data, with labels and predictions of each model.

    ``models`` holds plain config and checkpoint by name; the data are those of the last one.
    """
    from matplotlib.figure import Figure

    cfg = list(models.values())[-1][0]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    images = min(images, len(dataset))
    picked = [dataset[i * len(dataset) // images] for i in range(images)]
    palette = Palette(dataset.metainfo)
    truth = [data['data_samples'] for data in picked]
    columns = {name: predict(*model, picked) for name, model in models.items()}
    columns = {'ground truth': truth, **columns}
    pictures = [original_image(data) for data in picked]
    heights = [2.5 * picture.shape[0] / picture.shape[1] + 0.15 for picture in pictures]
    height = sum(heights) + (0.2 * images if 'gt_label' in truth[0] else 0) + 0.5
    figure = Figure(figsize=(2.6 * len(columns), height), layout='constrained')
    grid = figure.subplots(images, len(columns), squeeze=False, height_ratios=heights)
    for i, picture in enumerate(pictures):
        for j, (name, samples) in enumerate(columns.items()):
            draw_sample(grid[i, j], picture, samples[i], palette, 'gt' if j == 0 else 'pred')
            if i == 0:
                grid[i, j].set_title(name, fontsize=9)
    if 'gt_sem_seg' in truth[0]:
        class_legend(figure, palette)
    figure.savefig(out, dpi=130)


@torch.no_grad()
def predict(cfg: Config, checkpoint: str, picked: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the data samples that a model predicts for test images, one image at a time."""
    model = build_plain(cfg, 'model').eval()
    load_strictly(model, checkpoint, 'model')
    found = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for data in picked:
            sample = data['data_samples'].clone()
            found += model.test_step(dict(inputs=[data['inputs'].clone()], data_samples=[sample]))
    return found


def original_image(data: Mapping[str, Any]) -> Any:
    """Return the image of a test item as uint8 RGB: its file, or else its input tensor."""
    path = data['data_samples'].metainfo.get('img_path')
    image = cv2.imread(str(path)) if path else None
    if image is None:
        image = data['inputs'].permute(1, 2, 0).numpy()
        image = image.repeat(3, axis=2) if image.shape[2] == 1 else image
    return image[..., ::-1]
