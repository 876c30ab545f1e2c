"""Knowledge distillation for models built with OpenMMLab."""

from pathlib import Path

from mmkd.utils.compat import check_versions, register_packages, resolve_own_configs
from mmkd.version import __version__, version_info

check_versions()
register_packages()

# Registers every module of mmkd; they import neither mmdet, mmseg nor mmpretrain.
from mmkd import augmentors, datasets, engine, evaluation, methods, mixers, models  # noqa: E402

__all__ = [
    '__version__',
    'augmentors',
    'config',
    'datasets',
    'engine',
    'evaluation',
    'methods',
    'mixers',
    'models',
    'payload',
    'version_info',
]


def payload(name: str) -> Path:
    """Return where a part of the repository that is no Python package lies.

    Args:
        name: ``'configs'`` or ``'tools'``.
    """
    package = Path(__file__).resolve().parent
    installed = package / '.mim' / name
    return installed if installed.is_dir() else package.parent / name


def config(name: str) -> str:
    """Return the path of a config that mmkd ships.

    It serves as ``_base_ = __import__('mmkd').config('pskd/retinanet_r101_r50_coco.py')``.

    Args:
        name: Path below ``configs/``.

    Raises:
        FileNotFoundError: There is no such config; the nearest names are listed.
    """
    from mmkd.utils.errors import did_you_mean

    root = payload('configs')
    if (root / name).is_file():
        return str(root / name)
    known = [str(path.relative_to(root)) for path in root.rglob('*.py')]
    raise FileNotFoundError(f'mmkd has no config {name!r}{did_you_mean(name, known)}')


resolve_own_configs(config)
