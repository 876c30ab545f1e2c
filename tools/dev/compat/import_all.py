"""Import every module of mmkd, and say what is installed beside it."""

import importlib
import pkgutil

import mmkd
from mmkd.utils.compat import DISTRIBUTIONS, installed_distribution

modules = [
    m.name for m in pkgutil.walk_packages(mmkd.__path__, 'mmkd.') if m.name[-8:] != '__main__'
]
for name in modules:
    importlib.import_module(name)
found = {module: installed_distribution(module) for module in DISTRIBUTIONS}
print(f'{len(modules)} modules of mmkd imported; installed: {found}')
