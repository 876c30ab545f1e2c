"""Hide packages from Python, modules and distributions: MMKD_HIDE names the modules.

Python imports this file by itself where its folder is on PYTHONPATH.
"""

import importlib.metadata
import os
import sys

HIDDEN = os.environ.get('MMKD_HIDE', '').split()
DISTRIBUTIONS = dict(
    mmdet=('onedl-mmdetection', 'mmdet'),
    mmseg=('onedl-mmsegmentation', 'mmsegmentation'),
    mmpretrain=('onedl-mmpretrain', 'mmpretrain'),
)
HIDDEN_DISTRIBUTIONS = {name for module in HIDDEN for name in DISTRIBUTIONS[module]}


class Hide:
    """Finds nothing, before anybody else looks."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Refuse a module of a hidden package."""
        if name.partition('.')[0] in HIDDEN:
            raise ModuleNotFoundError(f'No module named {name!r} (hidden)', name=name)


def from_name(name, original=importlib.metadata.Distribution.from_name):
    """Find a distribution that is not hidden."""
    if name in HIDDEN_DISTRIBUTIONS:
        raise importlib.metadata.PackageNotFoundError(name)
    return original(name)


sys.meta_path.insert(0, Hide)
importlib.metadata.Distribution.from_name = staticmethod(from_name)
