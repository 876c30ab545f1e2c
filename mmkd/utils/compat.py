"""The installed OpenMMLab packages, and the paths of mmkd's own configs and tools."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmkd.utils.errors import did_you_mean

MINIMUM_MMENGINE = '0.10.0'
# Distributions by import name; the maintained forks come first.
DISTRIBUTIONS = {
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
}


def installed_distribution(module: str) -> str | None:
    """Return the distribution that provides an OpenMMLab module, or None."""
    for name in DISTRIBUTIONS[module]:
        with suppress(PackageNotFoundError):
            version(name)
            return name
    return None


def check_versions() -> None:
    """Refuse an mmengine that is missing or too old.

    Raises:
        ImportError: With the pip command that fixes it.
    """
    try:
        import mmengine
    except ImportError as error:
        raise ImportError(
            'mmkd needs mmengine: pip install onedl-mmengine (or openmim and mim install mmengine)'
        ) from error
    from mmengine.utils import digit_version

    if digit_version(mmengine.__version__) < digit_version(MINIMUM_MMENGINE):
        raise ImportError(
            f'mmkd needs mmengine >= {MINIMUM_MMENGINE}, found {mmengine.__version__}: '
            'pip install -U onedl-mmengine'
        )


def register_packages() -> None:
    """Tell mmengine which distributions provide ``mmseg::`` and ``mmkd::`` configs.

    mmengine maps ``mmseg`` to ``mmsegmentation`` only. With a fork installed it would not find
    mmseg and would install OpenMMLab's release over the fork.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE['mmkd'] = 'mmkd'
    for module in DISTRIBUTIONS:
        if name := installed_distribution(module):
            MODULE2PACKAGE[module] = name


def resolve_own_configs(find: Callable[[str], str]) -> None:
    """Make ``_base_ = 'mmkd::…'`` equal to the path of that config.

    mmengine writes ``_scope_``, the name before the ``::``, into everything that an inherited
    config defines. But mmkd's configs are OpenMMLab configs: their RetinaNet belongs to their
    ``default_scope``, mmdet, not to mmkd.

    Args:
        find: Maps a name below ``configs/`` to its path.
    """
    from mmengine.config import Config

    original = Config._get_cfg_path

    def path_and_scope(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, name = cfg_path.partition('::')
        return (find(name), None) if package == 'mmkd' else original(cfg_path, filename)

    Config._get_cfg_path = staticmethod(path_and_scope)


def require(module: str, purpose: str) -> None:
    """Check that an OpenMMLab package, such as ``mmdet``, is installed for a purpose.

    Raises:
        ImportError: With the pip command that fixes it.
    """
    if module in DISTRIBUTIONS and installed_distribution(module) is None:
        raise ImportError(f'{purpose} needs {module}: pip install {DISTRIBUTIONS[module][0]}')


def payload(name: str) -> Path:
    """Return the folder ``'configs'`` or ``'tools'`` of the repository or the installed package."""
    package = Path(__file__).resolve().parents[1]
    installed = package / '.mim' / name
    return installed if installed.is_dir() else package.parent / name


def config(name: str) -> str:
    """Return the path of a config that mmkd ships.

    Use it as ``_base_ = __import__('mmkd').config('pskd/retinanet_r101_r50_coco.py')``.

    Args:
        name: Path below ``configs/``.

    Raises:
        FileNotFoundError: There is no such config; the nearest names are listed.
    """
    root = payload('configs')
    if (root / name).is_file():
        return str(root / name)
    known = [str(path.relative_to(root)) for path in root.rglob('*.py')]
    raise FileNotFoundError(f'mmkd has no config {name!r}{did_you_mean(name, known)}')
