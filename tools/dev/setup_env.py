"""Create or complete the environment in .venv: the pinned stack, compiled mmcv operators, mmkd.

Run by tools/dev/setup_env.sh, with any Python 3.10-3.12; needs the standard library only. Every
step leaves a stamp in .venv/.mmkd, keyed by its requirements, so a second call returns at once and
a call after an interruption goes on where the last one stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

from setup_pip import Pip, SetupError, say
from setup_probe import (
    check_compiler,
    check_disk,
    compile_environment,
    complete,
    drop_incomplete,
    installed_version,
    runs,
    site_packages,
)

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
STATE = VENV / '.mmkd'
PINNED = ROOT / 'requirements' / 'pinned.txt'
# What `pip install -e .` depends on; code and configs are read in place.
EDITABLE_SOURCES = ('setup.py', 'mmkd/version.py', 'requirements/runtime.txt')
IMPORTS = 'torch, torchvision, cv2, mmengine, mmcv.ops, mmdet, mmseg, mmpretrain, mmkd'


def read_sections(path: Path) -> dict[str, list[str]]:
    """Return the requirement lines of each ``# [section]`` of the pinned file."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith('# ['):
            lines = sections.setdefault(line[3:].rstrip(']'), [])
        elif line and not line.startswith('#'):
            lines.append(line)
    return sections


class Setup:
    """The steps, each with a stamp."""

    def __init__(self) -> None:
        self.sections = read_sections(PINNED)
        # Stamps are chained: another torch means that mmcv is looked at again.
        self.key = f'{platform.machine()} {sys.version_info[:2]}'
        self.pip = Pip(PYTHON, STATE / 'setup.log')
        self.started = False

    def pending(self, step: str, content: str) -> bool:
        """Tell whether a step has to run; its key covers all steps before it."""
        self.key = hashlib.sha256(f'{self.key}\n{step}\n{content}'.encode()).hexdigest()
        stamp = STATE / step
        if stamp.is_file() and stamp.read_text() == self.key:
            return False
        if not self.started:
            self.start()
        return True

    def done(self, step: str) -> None:
        """Write the stamp of a step."""
        partial = STATE / f'{step}.partial'
        partial.write_text(self.key)
        partial.replace(STATE / step)

    def start(self) -> None:
        """Prepare for the first step that has to run, and drop half-installed packages."""
        self.started = True
        say(f'setting up {VENV} (once; log: {self.pip.log})')
        STATE.mkdir(parents=True, exist_ok=True)
        self.pip.log.write_text('')
        for name in drop_incomplete(site_packages(PYTHON)):
            say(f'{name} was left half installed: it will be installed again')

    def install_section(self, section: str, title: str, *options: str) -> None:
        """Install the packages of one section, if that has not been done."""
        lines = self.sections[section]
        if self.pending(section, '\n'.join(lines)):
            self.pip.install(title, *options, '-c', str(PINNED), *lines)
            self.done(section)

    def run(self) -> None:
        """Run every step that is not done."""
        create_environment()
        mmcv = self.sections['mmcv'][0]
        if not (STATE / 'mmcv').is_file():
            self.check_machine(mmcv)
        self.install_section('torch', 'torch and torchvision (1 to 5 minutes)')
        self.install_section('build', 'build tools')
        if self.pending('mmcv', mmcv):
            self.install_mmcv(mmcv)
            self.done('mmcv')
        self.install_section('stack', 'the OpenMMLab packages', '--no-build-isolation')
        self.install_section('tools', 'test tools')
        sources = '\n'.join((ROOT / name).read_text() for name in EDITABLE_SOURCES)
        if self.pending('mmkd', f'{ROOT}\n{sources}'):
            options = ('--no-deps', '--no-build-isolation', '-e', str(ROOT))
            self.pip.install('mmkd, in place', *options)
            self.check_imports()
            self.done('mmkd')
            say('set-up finished')

    def check_machine(self, mmcv: str) -> None:
        """Find out what is missing before anything is downloaded."""
        site = site_packages(PYTHON)
        if installed_version(site, 'torch') is None:
            check_disk(ROOT)
        if installed_version(site, 'onedl-mmcv') != mmcv.partition('==')[2]:
            check_compiler(PYTHON)

    def install_mmcv(self, mmcv: str) -> None:
        """Compile mmcv's operators, or take the wheel that pip has kept of an earlier time."""
        environment = compile_environment(PYTHON)
        options = ['--no-build-isolation', '--no-deps']
        title = (
            'mmcv: its operators are compiled once (6 to 11 minutes on two cores) and kept by pip'
        )
        self.pip.install(title, *options, mmcv, environment=environment)
        # pip's cache knows the version of mmcv only: the wheel may come from another torch.
        if not self.operators_load():
            say('the mmcv operators do not fit this torch: compiling them again')
            options += ['--no-cache-dir', '--force-reinstall']
            self.pip.install(title, *options, mmcv, environment=environment)
            if not self.operators_load():
                raise SetupError(f'mmcv was compiled but cannot be loaded: see {self.pip.log}')

    def operators_load(self) -> bool:
        """Load the compiled part alone, as mmcv itself needs packages of the next step."""
        code = (
            'import glob, sys, torch, importlib.util as util\n'
            'path, = glob.glob(sys.argv[1] + "/mmcv/_ext*.so")\n'
            'util.module_from_spec(util.spec_from_file_location("mmcv._ext", path))'
        )
        return self.python('-c', code, str(site_packages(PYTHON))) == 0

    def check_imports(self) -> None:
        """Import everything once, so that a broken environment shows now and not in a test."""
        say('checking the imports')
        if self.python('-c', 'import cv2') != 0:
            # opencv-python wants libGL, which servers lack; the headless package does not.
            headless = next(x for x in self.sections['stack'] if 'opencv-python-headless' in x)
            self.pip.install('OpenCV without display', '--no-deps', '--force-reinstall', headless)
        if self.python('-c', f'import {IMPORTS}') != 0:
            error = self.pip.log.read_text(errors='replace').strip().splitlines()[-1]
            raise SetupError(f'the environment is installed but does not import: {error}')

    def python(self, *arguments: str) -> int:
        """Run the environment's Python outside the repository, with its output in the log."""
        with self.pip.log.open('a') as log:
            command = [str(PYTHON), *arguments]
            stdin = subprocess.DEVNULL
            return subprocess.run(
                command, cwd=STATE, stdin=stdin, stdout=log, stderr=subprocess.STDOUT
            ).returncode


def create_environment() -> None:
    """Create .venv with a pip that runs; one that was left half made is completed."""
    if (STATE / 'environment').is_file() and Path(sys.prefix).resolve() == VENV.resolve():
        return
    if not pip_usable():
        check_disk(ROOT)
        say(f'creating .venv with Python {platform.python_version()} ({sys.executable})')
        # The base interpreter, as this may be the half-made environment's own Python.
        base = getattr(sys, '_base_executable', sys.executable)
        # An environment whose Python runs may hold packages that somebody wants to keep.
        clear = [] if runs(PYTHON, '-c', '') else ['--clear']
        if not clear:
            drop_incomplete(site_packages(PYTHON))
        command = [base, '-m', 'venv', *clear, str(VENV)]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode != 0 or not pip_usable():
            reason = (result.stdout + result.stderr).strip().splitlines()[-1:]
            raise SetupError(
                f'{base} could not create .venv ({"".join(reason) or "pip does not run in it"}): '
                'remove the folder .venv and run the same command again.'
            )
    STATE.mkdir(parents=True, exist_ok=True)
    (STATE / 'environment').touch()


def pip_usable() -> bool:
    """Tell whether .venv has a Python and a whole pip."""
    if not runs(PYTHON, '-m', 'pip', '--version'):
        return False
    return all(complete(folder) for folder in site_packages(PYTHON).glob('pip-*.dist-info'))


def main() -> int:
    """Set the environment up and return the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A lock on the folder itself outlives .venv. pip inherits it: after a killed set-up, the next
    # one waits until pip is gone.
    folder = os.open(ROOT, os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say('another set-up is at work in this folder: waiting for it')
            fcntl.flock(folder, fcntl.LOCK_EX)
        setup = Setup()
        setup.pip.inherited = (folder,)
        setup.run()
    except SetupError as error:
        print(f'mmkd: {error}', file=sys.stderr)
        return 1
    except OSError as error:
        print(f'mmkd: {error.strerror}: {error.filename or VENV}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nmmkd: interrupted; run the same command again and it goes on.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
