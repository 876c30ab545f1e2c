"""Write pictures of training batches as the student and the teacher see them.

They show boxes, masks and label maps, the borders between the parts of mixed images, and soft
labels. The teacher's weights are not needed. A learned augmentation has no effect before training;
--checkpoint loads what it has learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, set_random_seed

from mmkd.cli.common import distill_config, load_config, make_parser, read_training_checkpoint
from mmkd.cli.drawing import Palette, class_legend, draw_borders, draw_sample, format_sources
from mmkd.cli.explain import explained
from mmkd.cli.inputs import check_data
from mmkd.engine.hooks.distill_hook import ENTRY
from mmkd.mixers import Mixer, View
from mmkd.models.normalization import denormalize
from mmkd.models.teacher import KEY
from mmkd.registry import build
from mmkd.utils.checks import integer
from mmkd.utils.errors import ConfigError
from mmkd.utils.loading import build_plain
from mmkd.utils.student_config import plain_config, required

COLUMNS = 4


def main() -> None:
    """Draw, and print the paths of the pictures."""
    parser = make_parser(__doc__, config=True)
    add = parser.add_argument
    add('--out', type=Path, required=True, help='folder for the pictures')
    add('--batches', type=int, default=2, help='Defaults to 2')
    add('--images', type=int, default=8, help='images of a batch. Defaults to 8')
    add('--seed', type=int, default=0, help='Defaults to 0')
    add('--checkpoint', type=Path, help='of a run of the config, for a mixer that learns')
    args = parser.parse_args()
    for name in ('batches', 'images'):
        integer(1, **{f'--{name}': getattr(args, name)})
    options = args.batches, args.images, args.seed, args.checkpoint
    cfg = load_config(args, needed=())
    with explained(cfg):
        for path in browse_batches(cfg, args.out, *options):
            print(path)


def browse_batches(
    cfg: Config,
    out: Path,
    batches: int = 2,
    images: int = 8,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> list[Path]:
    """Write one picture for each of the first training batches and return their paths.

    Raises:
        ConfigError: The config has no training data, the mixer does not support them, or the
            checkpoint holds no state of the mixer.
    """
    required(cfg, 'train_dataloader.dataset')
    check_data(cfg, 'train_dataloader')
    out.mkdir(parents=True, exist_ok=True)
    distill = distill_config(cfg)
    preprocessor, loader, views = view_batches(cfg, distill, seed, checkpoint)
    palette = Palette(loader.dataset.metainfo)
    paths = []
    for number, (view, clean) in zip(range(batches), views):
        with_teacher = bool(distill.get('teacher'))
        figure = draw_view(view, clean, preprocessor, palette, images, with_teacher)
        paths.append(out / f'batch_{number}.png')
        figure.savefig(paths[-1], dpi=130)
    return paths


def view_batches(
    cfg: Config, distill: Any, seed: int, checkpoint: Path | None = None
) -> tuple[Any, Any, Iterator[tuple[View, View]]]:
    """Return the student's preprocessor, the data, and views of batches, mixed and clean."""
    set_random_seed(seed)
    student = build_plain(plain_config(cfg), 'model')
    mixer = build(distill['mixer'], Mixer, f'{KEY}.mixer') if distill.get('mixer') else None
    if mixer is not None and mixer.num_classes is None:
        mixer.num_classes = getattr(getattr(student, 'head', None), 'num_classes', None)
    if checkpoint is not None:
        load_mixer(mixer, checkpoint)
    # A few batches are not worth the start of workers.
    dataloader = dict(cfg.train_dataloader.to_dict(), num_workers=0, persistent_workers=False)
    dataloader.pop('prefetch_factor', None)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        loader = Runner.build_dataloader(dataloader, seed=seed)

    def views() -> Iterator[tuple[View, View]]:
        for iteration, data in enumerate(loader):
            with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
                data = student.data_preprocessor(data, True)
            inputs, samples = data['inputs'], data['data_samples']
            clean = View.plain(inputs, samples)
            view = clean if mixer is None else mixer.mix(inputs, samples, iteration)
            yield view, clean

    return student.data_preprocessor, loader, views()


def load_mixer(mixer: Mixer | None, checkpoint: Path) -> None:
    """Load the state of a mixer that was trained in a run.

    Raises:
        ConfigError: The checkpoint holds no state of the mixer.
    """
    state = read_training_checkpoint(checkpoint).get(ENTRY) or {}
    learned = {k.removeprefix('mixer.'): v for k, v in state.items() if k.startswith('mixer.')}
    if mixer is None or not learned:
        message = f'{str(checkpoint)!r} holds no state for the mixer of this config'
        raise ConfigError(f'{KEY}.mixer', message)
    mixer.load_state_dict(learned)


def draw_view(
    view: View, clean: View, preprocessor: Any, palette: Palette, images: int, with_teacher: bool
) -> Any:
    """Return a figure of a view: the student's images and, below each, the teacher's.

    If a learned augmentation changed the images for both, the clean ones are below them.
    """
    from matplotlib.figure import Figure

    shown = [('student', view.inputs, view.data_samples)]
    if view.hard is not None:
        shown = [
            ('student and teacher', *shown[0][1:]),
            ('clean', clean.inputs, clean.data_samples),
        ]
    elif with_teacher:
        shown.append(('teacher', view.teacher_inputs, view.teacher_samples))
    numbers = images_to_show(view, images)
    columns = min(COLUMNS, len(numbers))
    rows = -(-len(numbers) // columns) * len(shown)
    ratio = view.inputs.shape[-2] / view.inputs.shape[-1]
    text = 0.75 if any('gt_label' in sample for sample in view.data_samples or ()) else 0.25
    size = (2.9 * columns, (2.9 * ratio + text) * rows + 0.4)
    figure = Figure(figsize=size, layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis('off')
    for offset, (who, inputs, samples) in enumerate(shown):
        pictures = denormalize(inputs[numbers], preprocessor)
        mixed = who != 'clean' and (who != 'teacher' or view.teacher_on_mixed)
        for place, i in enumerate(numbers):
            axes = grid[place // columns * len(shown) + offset, place % columns]
            axes.axis('on')
            draw_sample(axes, pictures[place], samples[i] if samples else None, palette)
            title = f'image {i}, {who}'
            if mixed and (view.parts or view.pairs is not None or view.hard is not None):
                draw_borders(axes, view, i)
                title += f': {format_sources(view, i)}'
            axes.set_title(title, fontsize=8)
    if any('gt_sem_seg' in sample for sample in view.data_samples or ()):
        class_legend(figure, palette)
    return figure


def images_to_show(view: View, images: int) -> list[int]:
    """Return the numbers of at most ``images`` images; pairs of images are side by side."""
    numbers = list(range(len(view.inputs)))
    if view.pairs is not None and view.pairs.boxes is None:
        paired = view.pairs.images.flatten().tolist()
        numbers = paired + [i for i in numbers if i not in paired]
    return numbers[:images]
