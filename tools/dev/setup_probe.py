"""What the set-up looks at: disk, compiler, CUDA toolkit, and what is installed in .venv."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from setup_pip import SetupError, say

GB = 1 << 30
# Measured: the finished environment has 5.7 GB. Wheels of 2.8 GB are unpacked from the temporary
# folder, and pip keeps a second copy in its cache.
SPACE = {'environment': 6.5, 'temporary': 3.0, 'cache': 3.0}


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command silently."""
    options = {'capture_output': True, 'text': True, 'stdin': subprocess.DEVNULL, **options}
    return subprocess.run([str(part) for part in command], **options)  # type: ignore[call-overload]


def runs(*command: str | Path) -> bool:
    """Tell whether a command exists and succeeds."""
    try:
        return run(*command).returncode == 0
    except OSError:
        return False


def site_packages(python: Path) -> Path:
    """Return the folder that an environment's packages are in."""
    code = 'import sysconfig; print(sysconfig.get_path("platlib"))'
    return Path(run(python, '-c', code).stdout.strip())


def installed_version(site: Path, name: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    folders = list(site.glob(f'{name.replace("-", "_")}-*.dist-info'))
    return folders[0].name.rsplit('.dist-info', 1)[0].split('-')[1] if folders else None


def check_disk(root: Path) -> None:
    """Refuse to start a download that cannot end.

    Raises:
        SetupError: A disk is too small.
    """
    cache = Path(os.environ.get('PIP_CACHE_DIR') or '~/.cache').expanduser()
    places = {'environment': root, 'temporary': Path(tempfile.gettempdir()), 'cache': cache}
    needed: dict[int, float] = {}
    folder: dict[int, Path] = {}
    for purpose, place in places.items():
        while not place.exists():
            place = place.parent
        disk = place.stat().st_dev
        needed[disk] = needed.get(disk, 0.0) + SPACE[purpose]
        folder.setdefault(disk, place)
    for disk, size in needed.items():
        free = shutil.disk_usage(folder[disk]).free / GB
        if free < size:
            raise SetupError(
                f'not enough disk: {size:.1f} GB are needed on the disk of {folder[disk]} and '
                f'{free:.1f} GB are free; free some space and run the same command again.'
            )


def check_compiler(python: Path) -> None:
    """Compile a file that includes the headers which mmcv needs.

    Raises:
        SetupError: There is no working C++ compiler, or Python's headers are missing.
    """
    code = 'import sysconfig; print(sysconfig.get_path("include"), sysconfig.get_config_var("CC"))'
    include, c_compiler = run(python, '-c', code).stdout.strip().split(' ', 1)
    # torch takes CXX or c++ for C++; setuptools also looks for the C compiler that Python names.
    compiler = os.environ.get('CXX', 'c++').split()
    install = 'Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; macOS: xcode-select'
    again = 'and run the same command again'
    c_command = os.environ.get('CC', c_compiler).split()[:1]
    for command in (compiler[:1], c_command):
        if not command or shutil.which(command[0]) is None:
            raise SetupError(
                f'no C++ compiler ({" ".join(command)} is not on the PATH), and mmcv needs one: '
                f'install it ({install} --install) {again}.'
            )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / 'try.cpp'
        for header, advice in (
            ('vector', f'{" ".join(compiler)} cannot compile C++17: install a newer one {again}.'),
            (
                'Python.h',
                f'the headers of Python are missing ({include}/Python.h): install them (Debian, '
                f'Ubuntu: apt install python{sysconfig.get_python_version()}-dev) {again}.',
            ),
        ):
            source.write_text(f'#include <{header}>\nint main() {{ return 0; }}\n')
            options = ('-std=c++17', f'-I{include}', '-c', source, '-o', Path(folder) / 'try.o')
            if run(*compiler, *options).returncode != 0:
                raise SetupError(advice)


def compile_environment(python: Path) -> dict[str, str]:
    """Return the environment variables to compile mmcv with."""
    variables = dict(os.environ, MMCV_WITH_OPS='1')
    # Without debug information the wheel has 1.3 MB instead of 33, in half the time.
    variables.setdefault('CFLAGS', '-O2 -g0')
    if 'MAX_JOBS' not in variables:
        pages, page = os.sysconf('SC_PHYS_PAGES'), os.sysconf('SC_PAGE_SIZE')
        cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 2
        # One compiler takes up to 2 GB.
        variables['MAX_JOBS'] = str(max(1, min(cores + 1, pages * page // (2 * GB))))
    code = 'import torch; print(torch.version.cuda if torch.cuda.is_available() else "")'
    cuda = run(python, '-c', code).stdout.strip()
    if cuda and not fitting_nvcc(cuda):
        say(
            f'there is a GPU but no nvcc of CUDA {cuda.split(".")[0]}: the mmcv operators are '
            'compiled for the CPU only'
        )
        variables['CUDA_VISIBLE_DEVICES'] = ''
    return variables


def fitting_nvcc(cuda: str) -> bool:
    """Tell whether the CUDA compiler that torch would take has torch's major version."""
    home = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    nvcc = Path(home) / 'bin' / 'nvcc' if home else Path(shutil.which('nvcc') or '')
    if not home and not nvcc.name:
        nvcc = Path('/usr/local/cuda/bin/nvcc')
    if not nvcc.is_file():
        return False
    release = re.search(r'release (\d+)', run(nvcc, '--version').stdout)
    return release is not None and release.group(1) == cuda.split('.')[0]


def drop_incomplete(site: Path) -> list[str]:
    """Make pip forget packages that it was killed in the middle of installing.

    pip takes a package for installed when its metadata folder is there, even if files are missing.

    Returns:
        The names of the packages.
    """
    dropped = []
    for leftover in site.glob('~*'):
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in sorted(site.glob('*.dist-info')):
        if not complete(folder):
            shutil.rmtree(folder)
            dropped.append(folder.name.split('-')[0])
    return dropped


def complete(folder: Path) -> bool:
    """Tell whether a package has all its files; pip writes INSTALLER and RECORD last."""
    record = folder / 'RECORD'
    if not record.is_file() or not (folder / 'INSTALLER').is_file():
        return False
    with record.open(newline='') as file:
        names = [row[0] for row in csv.reader(file) if row and not row[0].endswith('.pyc')]
    return all((folder.parent / name).exists() for name in names)
