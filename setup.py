"""Build and install mmkd; the settings of the tools are in pyproject.toml."""

import os
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# OpenMMLab's `mim` and configs such as `mmkd::pskd/...` look for these in `mmkd/.mim`.
MIM_PAYLOAD = ('configs', 'tools', 'model-index.yml')


def version() -> str:
    """Return the version without importing mmkd, which needs mmengine."""
    namespace: dict = {}
    exec((ROOT / 'mmkd' / 'version.py').read_text(encoding='utf-8'), namespace)
    return namespace['__version__']


def requirements(name: str) -> list:
    """Return the requirements that a file in requirements/ lists."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def link_payload() -> None:
    """Link the payload into the package, for an editable install."""
    folder = ROOT / 'mmkd' / '.mim'
    try:
        folder.mkdir(exist_ok=True)
        for name in MIM_PAYLOAD:
            link = folder / name
            if link.is_symlink():
                link.unlink()
            if not link.exists() and (ROOT / name).exists():
                link.symlink_to(os.path.relpath(ROOT / name, folder))
    except OSError as error:
        # No links on this file system: mmkd.config() finds the configs in the repository.
        print(f'mmkd/.mim was not created: {error}', file=sys.stderr)


class BuildWithPayload(build_py):
    """Copy the payload into the built package; the source folder stays unchanged."""

    def run(self) -> None:
        """Build the package, then add the payload."""
        super().run()
        if getattr(self, 'editable_mode', False):
            return
        target = Path(self.build_lib) / 'mmkd' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        ignore = shutil.ignore_patterns('__pycache__', '*.pyc', 'dev')
        for name in MIM_PAYLOAD:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target / name, ignore=ignore)
            elif (ROOT / name).exists():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target / name)


# The extras name the tested distributions. With OpenMMLab's own packages installed, use no extra.
FRAMEWORKS = {
    'det': ['onedl-mmdetection>=3.5.1,<3.6'],
    'seg': ['onedl-mmsegmentation>=1.4.2,<1.5'],
    'cls': ['onedl-mmpretrain>=1.3.6,<1.4'],
}
EXTRAS = {name: requirements('mminstall') + packages for name, packages in FRAMEWORKS.items()}
EXTRAS['all'] = sorted({package for packages in EXTRAS.values() for package in packages})
for group in ('tests', 'docs', 'optional'):
    EXTRAS[group] = requirements(group)


if __name__ == '__main__':
    if {'develop', 'editable_wheel'} & set(sys.argv):
        link_payload()
    readme = ROOT / 'README.md'
    setup(
        name='mmkd',
        version=version(),
        description='Knowledge distillation for models built with OpenMMLab',
        long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
        long_description_content_type='text/markdown',
        author='The mmkd authors',
        license='Apache-2.0',
        packages=find_packages(include=['mmkd', 'mmkd.*']),
        package_data={'mmkd': ['py.typed']},
        entry_points={'console_scripts': ['mmkd = mmkd.__main__:main']},
        python_requires='>=3.10',
        install_requires=requirements('runtime'),
        extras_require=EXTRAS,
        cmdclass={'build_py': BuildWithPayload},
        zip_safe=False,
        classifiers=[
            'Development Status :: 3 - Alpha',
            'Operating System :: OS Independent',
            'Programming Language :: Python :: 3',
            'Programming Language :: Python :: 3.10',
            'Programming Language :: Python :: 3.11',
            'Programming Language :: Python :: 3.12',
            'Topic :: Scientific/Engineering :: Artificial Intelligence',
        ],
    )
