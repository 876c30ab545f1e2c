"""Run pip with little output, a sign of life, and one line that says why it failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

# pip's lines that tell how far it is; the rest is in the log.
SHOWN = ('Downloading ', 'Using cached ', 'Building wheel', 'Installing collected packages')
STEPS = re.compile(r'^\s*\S*\s*\[(\d+)/(\d+)\]', re.MULTILINE)
AGAIN = 'and run the same command again'
# In this order: a full disk also breaks downloads, and a download that was retried may be fine.
REASONS = (
    (
        r'No space left on device|Errno 28|Disk quota exceeded',
        f'the disk is full: free about 12 GB (or point TMPDIR to a larger disk) {AGAIN}.',
    ),
    (
        r'Killed signal terminated program|virtual memory exhausted|cannot allocate memory',
        f'the compiler ran out of memory: set MAX_JOBS=1 {AGAIN}.',
    ),
    (
        r'Failed building wheel for (\S+)|Failed to build',
        'compiling {0} failed ({1}); all messages are in {2}.',
    ),
    (
        r'CERTIFICATE_VERIFY_FAILED|SSLError',
        f'pip does not trust the package index: check the proxy or set PIP_CERT {AGAIN}.',
    ),
    (
        r'Max retries exceeded|NewConnectionError|connection broken|Name or service not known'
        r'|name resolution|Network is unreachable|ReadTimeout|Connection refused|ProxyError',
        'no network: pip cannot reach the package index; connect (or set PIP_INDEX_URL, '
        f'PIP_FIND_LINKS or HTTPS_PROXY) {AGAIN}.',
    ),
)


class SetupError(Exception):
    """A set-up that cannot go on, with a message for the user."""


def say(message: str) -> None:
    """Print a line of the set-up."""
    print(f'mmkd: {message}', flush=True)


class Pip:
    """pip of one environment.

    Args:
        python: The environment's Python.
        log: File that takes pip's whole output.
    """

    def __init__(self, python: Path, log: Path) -> None:
        self.python = python
        self.log = log
        # File descriptors that pip keeps open.
        self.inherited: tuple[int, ...] = ()

    def install(
        self, title: str, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        """Run ``pip install``.

        Args:
            title: What is being installed, for the user.
            arguments: Options and requirements. Where packages come from is left to pip's own
                configuration and environment variables.
            environment: Environment variables of pip. Defaults to those of this process.

        Raises:
            SetupError: pip failed.
        """
        say(title)
        variables = dict(os.environ if environment is None else environment)
        variables.update(PYTHONUNBUFFERED='1', PIP_USER='0', PIP_DISABLE_PIP_VERSION_CHECK='1')
        command = [str(self.python), '-m', 'pip', 'install', '--log', str(self.log), *arguments]
        before = self.log.stat().st_size
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env=variables,
            pass_fds=self.inherited,
            # Its own group, so that an interruption also ends the compilers that pip started.
            start_new_session=True,
        )
        try:
            self._follow(process, before)
        except BaseException:
            end_group(process)
            raise
        if process.returncode != 0:
            raise SetupError(explain(self._text(before), self.log))

    def _text(self, start: int) -> str:
        with self.log.open('rb') as file:
            file.seek(start)
            return file.read().decode(errors='replace')

    def _follow(self, process: subprocess.Popen[str], before: int) -> None:
        """Show what pip says, and that it is alive while it says nothing."""
        terminal = sys.stdout.isatty()
        interval = 1 if terminal else 30
        doing = ['pip']
        begin = last = time.monotonic()
        ended = threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                line = line.strip()
                if line.startswith(SHOWN):
                    # The list of all collected packages is too long for a line.
                    doing[0] = line if len(line) < 90 else line[:87] + '...'
                    print(f'\r\033[K  {line}' if terminal else f'  {doing[0]}', flush=True)
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        while not ended.wait(0.2):
            now = time.monotonic()
            if now - last < interval:
                continue
            last = now
            minutes, seconds = divmod(int(now - begin), 60)
            # Enough of the log for the last compiler command, which is long.
            steps = STEPS.findall(self._text(max(before, self.log.stat().st_size - 100_000)))
            compiled = f', {steps[-1][0]} of {steps[-1][1]} files compiled' if steps else ''
            message = f'  ... {minutes}:{seconds:02d} {doing[0].split("(")[0].strip()}{compiled}'
            print(f'\r\033[K{message[:100]}' if terminal else message, end='' if terminal else '\n')
            sys.stdout.flush()
        process.wait()
        if terminal:
            print('\r\033[K', end='', flush=True)


def end_group(process: subprocess.Popen[str]) -> None:
    """End a process that leads its group, and what it started."""
    for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue


def explain(text: str, log: Path) -> str:
    """Return one line that says why pip failed and what to do."""
    for pattern, message in REASONS:
        found = re.search(pattern, text)
        if found:
            package = (found.group(1) if found.groups() else None) or 'a package'
            cause = re.search(r'(fatal error: .*|error: (?!subprocess|command).*)', text)
            return message.format(package, cause.group(0).strip() if cause else 'no reason', log)
    errors = re.findall(r'ERROR: (.*)', text) or ['it stopped without a reason']
    return f'pip failed: {errors[-1].strip()}; its whole output is in {log}.'
