"""What mmkd needs of the installed OpenMMLab packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

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
