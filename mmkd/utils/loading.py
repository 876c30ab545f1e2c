"""Configs, models and checkpoints of others: weights only, verified, and of the right model."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import barrier, is_main_process
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmkd.utils.compat import require
from mmkd.utils.config_files import as_text, parse_config
from mmkd.utils.errors import ConfigError
from mmkd.utils.student_config import plain_config

try:
    from mmengine.runner.checkpoint import get_torch_safe_globals
except ImportError:  # mmengine before 0.10.8
    get_torch_safe_globals = None

# Switches of torch; with the second one a user trusts all files.
FORCE, FORCE_NOT = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
# OpenMMLab and torchvision put at least eight digits into a name.
HASH = re.compile(r'-([0-9a-f]{8,64})\.[a-z]+$')


def load_config(
    config: str | Config | Mapping[str, Any], key: str, weights: bool = False
) -> tuple[Config, str | None]:
    """Read a teacher's config.

    Args:
        config: A path, ``'mmdet::…'``, ``'mmkd::…'``, or a config object.
        key: Config key for error messages.
        weights: Look up the weights in the metafile of an upstream config.

    Returns:
        The config, and the address of the weights (None if there are none).

    Raises:
        ConfigError: It cannot be read, or has no ``model``.
    """
    if isinstance(config, str):
        cfg = parse_config(config, f'{key}.config')
        if weights:
            cfg.model_path = metafile_weights(config, key)
    else:
        if not isinstance(config, (Config, Mapping)):
            raise ConfigError(f'{key}.config', f'must be a path or a config, got {config!r}')
        cfg = as_text(config if isinstance(config, Config) else Config(dict(config)))
    if not cfg.get('model'):
        raise ConfigError(f'{key}.config', 'the config has no `model`')
    if not isinstance(cfg.model, Mapping):
        raise ConfigError(f'{key}.config', f'`model` must be a dict, got {cfg.model!r}')
    scope = cfg.get('default_scope')
    if not isinstance(scope, (str, type(None))):
        text = f'`default_scope` must be the name of a package, got {scope!r}'
        raise ConfigError(f'{key}.config', text)
    return cfg, cfg.get('model_path')


def metafile_weights(config: str, key: str) -> str:
    """Return the address of the weights that an upstream config's metafile names.

    Raises:
        ConfigError: It names none.
    """
    package, _, name = config.partition('::')
    try:
        if not name or package == 'mmkd':
            raise AssertionError('it is no config of an OpenMMLab package')
        return get_config(config, pretrained=True).model_path
    except (AssertionError, AttributeError) as error:
        text = f"'auto' takes the weights of the metafile, and {config!r} names none: {error}"
        raise ConfigError(f'{key}.checkpoint', text) from error


def build_plain(cfg: Config, key: str) -> nn.Module:
    """Build the model of a config without pretrained weights, in the config's scope."""
    model = plain_config(cfg).model.to_dict()  # a distilled student can teach
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor.to_dict())
    scope = cfg.get('default_scope') or current_scope()
    require(scope, f'{key}.config')
    with DefaultScope.overwrite_default_scope(scope):
        # ConfigDict, because detectors read parts of it as attributes.
        return MODELS.build(ConfigDict(without_pretrained(model)))


def current_scope() -> str:
    """Return the scope in which something is built now: the student's, while it is distilled."""
    scope = DefaultScope.get_current_instance()
    return scope.scope_name if scope is not None else 'mmengine'


def without_pretrained(node: Any) -> Any:
    """Set every init_cfg with a checkpoint and every ``pretrained`` to None: weights follow."""
    if isinstance(node, Mapping):
        init = node.get('init_cfg')
        pretrained = isinstance(init, Mapping) and 'checkpoint' in init  # not always with a type
        empty = ('pretrained', 'init_cfg') if pretrained else ('pretrained',)
        return {k: None if k in empty else without_pretrained(v) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(without_pretrained(item) for item in node)
    return node


def load_strictly(
    model: nn.Module, checkpoint: str, key: str, trusted: bool = False, trust: str = ''
) -> dict[str, int]:
    """Load a checkpoint that must hold every entry of the model in the right shape.

    Args:
        model: The model.
        checkpoint: Path or address of the checkpoint.
        key: Config key for error messages.
        trusted: See :func:`read_checkpoint`. Defaults to False.
        trust: See :func:`read_checkpoint`. Defaults to ``''``.

    Returns:
        Number of entries that ``matched``, are ``missing`` or ``unexpected``.

    Raises:
        ConfigError: The file is missing or corrupt, or belongs to another model.
    """
    key = f'{key}.checkpoint'
    try:
        content = read_checkpoint(checkpoint, key, trusted, trust)
    except FileNotFoundError as error:
        raise ConfigError(key, f'{checkpoint!r} does not exist') from error
    state = content.get('state_dict', content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        raise ConfigError(key, f'{checkpoint!r} holds no state dict')
    state = {k.removeprefix('module.'): v for k, v in state.items()}
    own = model.state_dict()
    missing = [k for k in own if k not in state and not k.endswith('num_batches_tracked')]
    unexpected = [k for k in state if k not in own]
    wrong = [k for k in own if k in state and own[k].shape != state[k].shape]
    # A deeper network has every entry of a shallower one. Whole parts that the model lacks, such
    # as an auxiliary head or an averaged copy of the weights, are harmless.
    parts = {name for name, _ in model.named_children()}
    # Some models share a module under a second name once they have run, such as DDQ.
    placed = {state[k].data_ptr() for k in own if k in state}
    surplus = [k for k in unexpected if k.split('.')[0] in parts]
    surplus = [k for k in surplus if getattr(state[k], 'data_ptr', int)() not in placed]
    misfit = None
    if missing or wrong:
        shapes = [f'{k}: {tuple(state[k].shape)} for {tuple(own[k].shape)}' for k in wrong]
        misfit = (
            f'{len(missing)} of {len(own)} entries are missing{listing(missing)}, {len(wrong)} '
            f'have another shape{listing(shapes)}; is it of another architecture or class count?'
        )
    elif surplus:
        misfit = (
            f'{len(surplus)} of its entries have no place in it{listing(surplus)}; is it of a '
            'deeper architecture?'
        )
    if misfit:
        raise ConfigError(key, f'{checkpoint!r} does not fit {type(model).__name__}: {misfit}')
    # Checkpoints of older releases lack the counters, which are unused in eval mode.
    state = {**own, **{k: v for k, v in state.items() if k in own}}
    # Not strict: hooks may drop entries, such as the constants of SwinV2, after this check.
    model.load_state_dict(state, strict=False)
    return dict(matched=len(own) - len(missing), missing=len(missing), unexpected=len(unexpected))


def listing(names: list[str]) -> str:
    """Return up to three names in parentheses, or an empty string."""
    return f' ({", ".join(names[:3])}{", …" if len(names) > 3 else ""})' if names else ''


def hash_of(model: nn.Module) -> str:
    """Return the first 12 digits of a SHA-256 over a model's state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:12]


def can_restrict() -> bool:
    """Whether this torch can load a checkpoint of mmengine without running code from it.

    Such files hold a few classes besides tensors; older releases have no list of them.
    """
    lists = hasattr(torch.serialization, 'safe_globals') and get_torch_safe_globals is not None
    return lists and not os.environ.get(FORCE_NOT)


def restrict() -> None:
    """Refuse unsafe files wherever this process loads one."""
    if can_restrict():
        os.environ[FORCE] = '1'
        torch.serialization.add_safe_globals(get_torch_safe_globals())


@contextmanager
def weights_only(trusted: bool = False) -> Iterator[None]:
    """Refuse, inside, files that hold more than tensors and mmengine's own list of classes.

    mmengine alone tries that and then falls back to loading everything. If ``trusted``, nothing is
    refused.
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
        name: A path, a URL, or another address that mmengine supports.
        key: Config key for error messages.
        trusted: Also read a file that runs code when it is loaded. Defaults to False.
        trust: The setting that allows it, for the error message. Defaults to ``''``.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: It is corrupt, holds more than weights, or does not have the hash in its name.
    """
    try:
        path = fetch(name) if name.startswith(('http://', 'https://')) else name
        with weights_only(trusted):
            return CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except FileNotFoundError:
        raise
    except Exception as error:
        problem = f'cannot read {name!r}: {error}'
        if isinstance(error, pickle.UnpicklingError):
            needed = unsafe(error)
            problem = f'{name!r} {refusal(needed, trust)}'
            if needed is None:
                problem = f'cannot read {name!r}: it is damaged or not a torch checkpoint'
        raise ConfigError(key, problem) from error


def unsafe(error: BaseException) -> str | None:
    """Return what a refused file would have called, or None if the file is merely corrupt."""
    found = re.search(r'GLOBAL ([\w.]+)', str(error))
    return found[1] if found else None


def refusal(needed: str | None, trust: str) -> str:
    """Return why a file is refused."""
    return (
        f'holds more than weights ({needed}) and could run code when it is loaded, so it is '
        f'refused; if you trust its source, set {trust}'
    )


def fetch(url: str) -> str:
    """Download a file once, as torch.hub does, and return its path.

    If its name ends with a hash, as in ``resnet50-0676ba61.pth``, the file must match it, even if
    it was downloaded before. Other processes wait for the first one.

    Raises:
        RuntimeError: It has another hash.
    """
    path = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(url).path).name)
    expected = found[1] if (found := HASH.search(path.name)) else None
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
            f'{path} has the hash {digest.hexdigest()[: len(expected)]}, but its name says '
            f'{expected}: remove it to download it again'
        )
    return str(path)
