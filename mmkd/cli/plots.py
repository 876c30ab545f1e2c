"""Pictures of training runs: loss curves, and predictions side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmkd.cli.drawing import Palette, class_legend, draw_sample
from mmkd.utils.loading import build_plain, load_strictly
from mmkd.utils.student_config import plain_config

DISTILL = 'distill.'


def read_losses(work_dir: Path) -> tuple[list[int], dict[str, list[float]]]:
    """Return the iterations and the losses that a run logged.

    Losses of the task are summed as ``'task'``, distillation losses keep their names.

    Args:
        work_dir: Work directory of the run; the newest log in it is read.
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


def plot_losses(runs: Mapping[str, Path], out: Path) -> None:
    """Draw the task's losses of several runs, and the distillation losses beside them.

    Args:
        runs: Work directories by the runs' names.
        out: Path of the picture.
    """
    from matplotlib.figure import Figure

    read = {name: read_losses(path) for name, path in runs.items()}
    figure = Figure(figsize=(10, 3.8), layout='constrained')
    task, distill = figure.subplots(1, 2)
    for name, (iterations, losses) in read.items():
        if 'task' in losses:
            task.plot(iterations, losses['task'], label=name, linewidth=1.2)
        for key, values in losses.items():
            if key.startswith(DISTILL):
                label = key.removeprefix(DISTILL).replace('.loss_', ': ')
                distill.plot(iterations, values, label=label, linewidth=1.2)
    task.set(title='Task loss', xlabel='iteration')
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
    """Draw test images with their labels and what each model predicts.

    Args:
        models: Config and checkpoint of each model by name. The data are those of the last one.
        out: Path of the picture.
        images: How many, evenly spread over the test data. Defaults to 4.
    """
    from matplotlib.figure import Figure

    cfg = list(models.values())[-1][0]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    images = min(images, len(dataset))
    picked = [dataset[i * len(dataset) // images] for i in range(images)]
    palette = Palette(dataset.metainfo)
    truth = [data['data_samples'] for data in picked]
    columns: dict[str, Sequence[Any]] = {'ground truth': truth}
    for name, (config, checkpoint) in models.items():
        columns[name] = predict(config, checkpoint, picked)
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
    """Return the data samples that a model makes of test images, one image at a time."""
    model = load_model(cfg, checkpoint).eval()
    found = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for data in picked:
            sample = data['data_samples'].clone()
            batch = dict(inputs=[data['inputs'].clone()], data_samples=[sample])
            found += model.test_step(batch)
    return found


def load_model(cfg: Config, checkpoint: str) -> nn.Module:
    """Return the plain model of a config with trained weights."""
    model = build_plain(plain_config(cfg), 'model')
    load_strictly(model, checkpoint, 'model')
    return model


def original_image(data: Mapping[str, Any]) -> Any:
    """Return the picture of a test item as uint8 RGB: its file, or what the pipeline made of it."""
    path = data['data_samples'].metainfo.get('img_path')
    image = cv2.imread(str(path)) if path else None
    if image is None:
        image = data['inputs'].permute(1, 2, 0).numpy()
        image = image.repeat(3, axis=2) if image.shape[2] == 1 else image
    return image[..., ::-1]
