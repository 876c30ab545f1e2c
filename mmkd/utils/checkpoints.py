"""Reading checkpoints of others: nothing but weights, and what was downloaded is what was meant."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner import CheckpointLoader

from mmkd.utils.errors import ConfigError

try:
    from mmengine.runner.checkpoint import get_torch_safe_globals
except ImportError:  # mmengine before 0.10.8
    get_torch_safe_globals = None

# torch's own switches; the second one is how a user says that all files are to be trusted.
FORCE, FORCE_NOT = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
# At least as many digits as OpenMMLab and torchvision put into a name.
HASH = re.compile(r'-([0-9a-f]{8,64})\.[a-z]+$')


def can_restrict() -> bool:
    """Whether this torch can load a checkpoint of mmengine without running code from it.

    Such files hold a few classes besides tensors, and older releases have no list of them.
    """
    lists = hasattr(torch.serialization, 'safe_globals') and get_torch_safe_globals is not None
    return lists and not os.environ.get(FORCE_NOT)


def restrict() -> None:
    """Refuse such files wherever this process loads one."""
    if can_restrict():
        os.environ[FORCE] = '1'
        torch.serialization.add_safe_globals(get_torch_safe_globals())


@contextmanager
def weights_only(trusted: bool = False) -> Iterator[None]:
    """Refuse, inside, files that hold more than tensors and mmengine's own list of classes.

    mmengine itself tries that and then falls back to loading everything.

    Args:
        trusted: Do not refuse. Defaults to False.
    """
    before = os.environ.pop(FORCE, None)
    allowed: Any = nullcontext()
    if not trusted and can_restrict():
        os.environ[FORCE] = '1'
        allowed = torch.serialization.safe_globals(get_torch_safe_globals())
    try:
        with allowed:
            yield
    finally:
        os.environ.pop(FORCE, None)
        if before is not None:
            os.environ[FORCE] = before


def read_checkpoint(name: str, key: str, trusted: bool = False, trust: str = '') -> Any:
    """Read a checkpoint onto the CPU.

    Args:
        name: A path, a URL, or another address that mmengine knows.
        key: Config key for error messages.
        trusted: Also read a file that runs code when it is loaded. Defaults to False.
        trust: What a user sets to allow that, for the error. Defaults to ``''``.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: It is corrupt, holds more than weights, or is not what its name says.
    """
    try:
        path = fetch(name) if name.startswith(('http://', 'https://')) else name
        with weights_only(trusted):
            return CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        needed = unsafe(error)
        if needed is None:
            problem = 'it is damaged, or no checkpoint of torch'
            raise ConfigError(key, f'cannot read {name!r}: {problem}') from error
        raise ConfigError(key, f'{name!r} {refusal(needed, trust)}') from error
    except Exception as error:
        raise ConfigError(key, f'cannot read {name!r}: {error}') from error


def unsafe(error: BaseException) -> str | None:
    """Return what a refused file would have called, or None where the file is merely corrupt."""
    found = re.search(r'GLOBAL ([\w.]+)', str(error))
    return found[1] if found else None


def refusal(needed: str, trust: str) -> str:
    """Word why a file is refused."""
    return (
        f'holds more than weights ({needed}) and could run code when it is loaded, so it is '
        f'refused; if you trust where it comes from, set {trust}'
    )


def fetch(url: str) -> str:
    """Download a file once, as torch.hub does, and return its path.

    Where its name ends with a hash, as in ``resnet50-0676ba61.pth``, the file must have it, also
    one that was downloaded before. Processes other than the first wait for it.

    Raises:
        RuntimeError: It has another hash.
    """
    name = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir(), 'checkpoints', name)
    found = HASH.search(name)
    expected = found[1] if found else None
    for turn in (True, False):
        if is_main_process() == turn and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), expected, progress=turn)
        if turn:
            barrier()
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while expected and (piece := file.read(2**20)):
            digest.update(piece)
    if expected and not digest.hexdigest().startswith(expected):
        raise RuntimeError(
            f'{path} has the hash {digest.hexdigest()[: len(expected)]} and not {expected} as its '
            'name says: remove it, and it is downloaded again'
        )
    return str(path)
