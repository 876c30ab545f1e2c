"""What mmkd needs of the installed OpenMMLab packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmkd.utils.errors import did_you_mean

MINIMUM_MMENGINE = '0.10.0'
# Several distributions provide one import name; the forks come first, as they are maintained.
DISTRIBUTIONS = {
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
}


def installed_distribution(module: str) -> str | None:
    """Return the distribution that provides an OpenMMLab module, or None."""
    for name in DISTRIBUTIONS[module]:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return None


def check_versions() -> None:
    """Refuse an mmengine that is missing or too old.

    Raises:
        ImportError: With the pip command that mends it.
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
    """Teach mmengine which distributions ``mmseg::`` and ``mmkd::`` configs come from.

    mmengine maps ``mmseg`` to ``mmsegmentation`` only. Where a fork provides mmseg, it would not
    find it and would install OpenMMLab's release over the fork.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE['mmkd'] = 'mmkd'
    for module in DISTRIBUTIONS:
        name = installed_distribution(module)
        if name is not None:
            MODULE2PACKAGE[module] = name


def resolve_own_configs(find: Callable[[str], str]) -> None:
    """Let ``_base_ = 'mmkd::…'`` mean the same as the path of that config.

    mmengine looks up whatever an inherited config defines in the scope that stands before the
    ``::``, by writing ``_scope_`` into it. But mmkd's configs are OpenMMLab configs: their
    RetinaNet is that of their ``default_scope``, mmdet, and none of mmkd.

    Args:
        find: Takes a name below ``configs/`` and returns the path.
    """
    from mmengine.config import Config

    original = Config._get_cfg_path

    def path_and_scope(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, name = cfg_path.partition('::')
        return (find(name), None) if package == 'mmkd' else original(cfg_path, filename)

    Config._get_cfg_path = staticmethod(path_and_scope)


def require(module: str, purpose: str) -> None:
    """Raise a clear error where an OpenMMLab package is needed and missing.

    Args:
        module: Import name, such as ``mmdet``.
        purpose: What needs it, for the message.

    Raises:
        ImportError: With the pip command that mends it.
    """
    if module in DISTRIBUTIONS and installed_distribution(module) is None:
        raise ImportError(f'{purpose} needs {module}: pip install {DISTRIBUTIONS[module][0]}')


def payload(name: str) -> Path:
    """Return where a part of the repository that is no Python package lies.

    Args:
        name: ``'configs'`` or ``'tools'``.
    """
    package = Path(__file__).resolve().parents[1]
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
    root = payload('configs')
    if (root / name).is_file():
        return str(root / name)
    known = [str(path.relative_to(root)) for path in root.rglob('*.py')]
    raise FileNotFoundError(f'mmkd has no config {name!r}{did_you_mean(name, known)}')
