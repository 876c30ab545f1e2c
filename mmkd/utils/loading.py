"""What a teacher is made of: its config, its model, and weights that fit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmkd.utils.checkpoints import read_checkpoint
from mmkd.utils.compat import config as own_config
from mmkd.utils.compat import require
from mmkd.utils.errors import ConfigError
from mmkd.utils.student_config import plain_config


def load_config(
    config: str | Config | Mapping[str, Any], key: str, weights: bool = False
) -> tuple[Config, str | None]:
    """Read a teacher's config.

    Args:
        config: A path, ``'mmdet::…'``, or a config object.
        key: Config key for error messages.
        weights: Look for the weights that the metafile of an upstream config names.

    Returns:
        The config, and the address of the weights (None where there are none).

    Raises:
        ConfigError: It cannot be read, or has no ``model``.
    """
    if isinstance(config, str):
        package, _, name = config.partition('::')
        try:
            if not name:
                cfg = Config.fromfile(config)
            elif package == 'mmkd':
                cfg = Config.fromfile(own_config(name))
            else:
                require(package, f'{key}.config={config!r}')
                cfg = get_config(config, pretrained=weights)
        except AssertionError as error:  # how mmengine says that a metafile names no weights
            raise ConfigError(f'{key}.checkpoint', f'{config!r}: {error}') from error
        except (OSError, ValueError, SyntaxError) as error:
            raise ConfigError(f'{key}.config', f'cannot read {config!r}: {error}') from error
    else:
        cfg = config if isinstance(config, Config) else Config(dict(config))
    if not cfg.get('model'):
        raise ConfigError(f'{key}.config', 'the config has no `model`')
    return cfg, cfg.get('model_path')


def build_plain(cfg: Config, key: str) -> nn.Module:
    """Build the model of a config without its pretrained initialisation, in the config's scope."""
    model = plain_config(cfg).model.to_dict()  # a distilled student can teach
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor.to_dict())
    scope = cfg.get('default_scope') or 'mmengine'
    require(scope, f'{key}.config')
    with DefaultScope.overwrite_default_scope(scope):
        # ConfigDict, because detectors read parts of it as attributes.
        return MODELS.build(ConfigDict(without_pretrained(model)))


def without_pretrained(node: Any) -> Any:
    """Drop every ``Pretrained`` init_cfg and ``pretrained`` key: the checkpoint overwrites them."""
    if isinstance(node, Mapping):
        kept: dict[str, Any] = {}
        for name, value in node.items():
            pretrained = isinstance(value, Mapping) and value.get('type') == 'Pretrained'
            if name == 'pretrained' or (name == 'init_cfg' and pretrained):
                kept[name] = None
            else:
                kept[name] = without_pretrained(value)
        return kept
    if isinstance(node, (list, tuple)):
        return type(node)(without_pretrained(item) for item in node)
    return node


def load_strictly(
    model: nn.Module, checkpoint: str, key: str, trusted: bool = False, trust: str = ''
) -> dict[str, int]:
    """Load a checkpoint of which every model entry must be there in the right shape.

    Args:
        model: The model.
        checkpoint: Path or address of the checkpoint.
        key: Config key for error messages.
        trusted: See :func:`~mmkd.utils.checkpoints.read_checkpoint`. Defaults to False.
        trust: See there. Defaults to ``''``.

    Returns:
        How many entries ``matched``, are ``missing`` or ``unexpected``.

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
    if missing or wrong:
        shapes = [f'{k}: {tuple(state[k].shape)} for {tuple(own[k].shape)}' for k in wrong[:3]]
        raise ConfigError(
            key,
            f'{checkpoint!r} does not fit {type(model).__name__}: {len(missing)} of {len(own)} '
            f'entries are missing{listing(missing)}, {len(wrong)} have another shape'
            f'{listing(shapes)}; is it of another architecture or class count?',
        )
    # A deeper network has every entry of a shallower one. Whole parts that the model lacks, such
    # as an auxiliary head or a copy of averaged weights, are harmless.
    parts = {name for name, _ in model.named_children()}
    surplus = [k for k in unexpected if k.split('.')[0] in parts]
    if surplus:
        raise ConfigError(
            key,
            f'{checkpoint!r} does not fit {type(model).__name__}: {len(surplus)} of its entries '
            f'have no place in it{listing(surplus)}; is it of a deeper architecture?',
        )
    # Upstream checkpoints of older releases lack the counters, which nothing reads in eval mode.
    model.load_state_dict({**own, **{k: v for k, v in state.items() if k in own}})
    return dict(matched=len(own) - len(missing), missing=len(missing), unexpected=len(unexpected))


def listing(names: list[str]) -> str:
    """Return up to three names in brackets, or nothing."""
    return f' ({", ".join(names[:3])}{", …" if len(names) > 3 else ""})' if names else ''


def hash_of(model: nn.Module) -> str:
    """Return the first 12 digits of a SHA-256 over a model's state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:12]
