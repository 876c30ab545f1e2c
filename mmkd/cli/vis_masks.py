"""Draw, on given images, the masks of a trained distiller and where student and teacher differ.

The weights of the student and of its methods come from a checkpoint of the training run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmkd.cli.common import (
    check_device,
    existing_file,
    load_config,
    make_parser,
    read_training_checkpoint,
)
from mmkd.cli.explain import explained
from mmkd.engine.hooks.distill_hook import ENTRY
from mmkd.engine.visualization import Observer, draw_sheet
from mmkd.utils.errors import ConfigError, refuse
from mmkd.utils.loading import without_pretrained
from mmkd.utils.student_config import required


def main() -> None:
    """Draw, and print the paths of the pictures."""
    parser = make_parser(__doc__, config=True)
    add = parser.add_argument
    add('checkpoint', type=Path, help='checkpoint of its training')
    add('images', type=Path, nargs='+', help='image files')
    add('--out', type=Path, required=True, help='folder for the pictures')
    add('--device', default='cpu', help='Defaults to cpu')
    args = parser.parse_args()
    check_device(args.device)
    cfg = load_config(args)
    with explained(cfg):
        for path in vis_masks(cfg, args.checkpoint, args.images, args.out, args.device):
            print(path)


def vis_masks(
    cfg: Config, checkpoint: Path, images: Sequence[Path], out: Path, device: str = 'cpu'
) -> list[Path]:
    """Write one picture for each image and each method with masks or maps; return their paths.

    Raises:
        ConfigError: Config, checkpoint and images do not fit, or no method has masks or maps.
    """
    for image in images:
        existing_file(image, 'images')
    required(cfg, 'model.distill', 'the config has no distillation, so there are no masks')
    content = read_training_checkpoint(checkpoint)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        model = build_trained(cfg, content, checkpoint).to(device).eval()
        pipeline = image_pipeline(cfg)
        out.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, image in enumerate(images):
            packed = pipeline(dict(img_path=str(image), img_id=number))
            data = model.data_preprocessor(pseudo_collate([packed]), False)
            observer = model.distiller.recorder = Observer(model.data_preprocessor)
            model.distiller.visualize(model, data['inputs'], data['data_samples'])
            for name, seen in observer.seen.items():
                paths.append(out / f'{image.stem}_{name}.png')
                cv2.imwrite(str(paths[-1]), draw_sheet(seen, 0)[..., ::-1])
    if not paths:
        key = 'model.distill.methods'
        raise ConfigError(key, 'none of the methods has spatial masks or compares maps')
    return paths


def build_trained(cfg: Config, content: dict, checkpoint: Path) -> nn.Module:
    """Return the distilled student with its weights and those of its methods.

    Raises:
        ConfigError: The checkpoint belongs to another config, or holds the student alone.
    """
    config = without_pretrained(cfg.model.to_dict())
    if cfg.get('data_preprocessor') is not None:
        config.setdefault('data_preprocessor', cfg.data_preprocessor.to_dict())
    model = MODELS.build(Config(config)._cfg_dict)
    own = content.get(ENTRY)
    if own is None and model.distiller.state_dict():
        message = 'it is an exported student or a plain one; use a checkpoint of the training run'
        raise ConfigError('checkpoint', f'{str(checkpoint)!r} has no {ENTRY!r} entry: {message}')
    with refuse('checkpoint', 'does not fit the config', RuntimeError):
        model.load_state_dict(content['state_dict'])
        model.distiller.load_state_dict(own or {})
    return model


def image_pipeline(cfg: Config) -> Compose:
    """Return the config's test pipeline without the loading of annotations.

    Raises:
        ConfigError: The config has no test data.
    """
    steps = required(cfg, 'test_dataloader.dataset.pipeline')
    return Compose([step for step in steps if 'Annotations' not in step['type']])
