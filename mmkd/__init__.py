"""Knowledge distillation for models built with OpenMMLab."""

from mmkd.utils.compat import (
    check_versions,
    config,
    payload,
    register_packages,
    resolve_own_configs,
)
from mmkd.version import __version__, version_info

check_versions()
register_packages()

# Registers every module of mmkd; they import neither mmdet, mmseg nor mmpretrain.
from mmkd import datasets, engine, evaluation, methods, mixers, models  # noqa: E402

__all__ = [
    '__version__',
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

resolve_own_configs(config)
