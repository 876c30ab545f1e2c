"""The frozen teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

import mmkd
from mmkd.models.renormalize import Renormalizer
from mmkd.models.taps import Tap, TapReader, detached
from mmkd.utils import ConfigError, plain_config
from mmkd.utils.checkpoints import read_checkpoint
from mmkd.utils.compat import require

PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class Teacher:
    """A frozen model that is only ever read.

    It is deliberately not an ``nn.Module``: so it is in no state dict, no optimizer, no DDP
    broadcast and no EMA copy, and ``train()`` on the student cannot reach it. The distiller moves
    it between devices.

    Args:
        config: Config of the teacher: a path, ``'mmdet::…'``, or a config object.
        checkpoint: Its weights: a path, a URL, or ``'auto'`` for those of the config's metafile.
        precision: ``'fp32'``, ``'bf16'`` or ``'fp16'`` for the teacher alone; what is read from it
            is fp32 again. Defaults to ``'fp32'``.
        fuse_conv_bn: Fold BatchNorm into the convolutions, which changes the last bits of the
            result. Defaults to False.
        channels_last: Run with the channels of maps innermost in memory, which is faster on most
            processors, above all in bf16. Defaults to False.
        trusted: Also load a checkpoint that holds more than weights, and so can run code. Defaults
            to False.
        key: Config key for error messages. Defaults to ``'model.distill.teacher'``.

    Raises:
        ConfigError: The config or the checkpoint is missing, corrupt, or they do not fit.
    """

    def __init__(
        self,
        config: str | Config | Mapping[str, Any],
        checkpoint: str | None = None,
        precision: str = 'fp32',
        fuse_conv_bn: bool = False,
        channels_last: bool = False,
        trusted: bool = False,
        key: str = 'model.distill.teacher',
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f'{key}.precision', f'use one of {", ".join(PRECISIONS)}')
        self.dtype = PRECISIONS[precision]
        self.key = key
        cfg, weights = load_config(config, key, weights=checkpoint == 'auto')
        if checkpoint == 'auto':
            checkpoint = weights
        if not checkpoint:
            raise ConfigError(
                f'{key}.checkpoint',
                "a teacher needs trained weights: a path, a URL, or 'auto' where the config's "
                'metafile names some',
            )
        self.model: nn.Module = build_plain(cfg, key)
        self.load_report = load_strictly(
            self.model, checkpoint, key, trusted, trust=f'{key}.trusted=True'
        )
        self.hash = hash_of(self.model)
        # In eval mode SyncBN equals BN, and torch's SyncBN refuses to run on a CPU.
        self.model = revert_sync_batchnorm(self.model)
        if fuse_conv_bn:
            from mmcv.cnn import fuse_conv_bn as fuse

            self.model = fuse(self.model.eval())
        self.model.requires_grad_(False).eval().to(self.dtype)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model.to(memory_format=self.memory_format)
        #: Whether dropout and drop-path act; everything else is in eval mode always.
        self.dropout = False
        self.renormalize: Renormalizer | None = None
        self.reader: TapReader | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        return self

    def open_taps(self, taps: Mapping[Tap, str]) -> None:
        """Decide, once, what :meth:`__call__` reads."""
        self.reader = TapReader(self.model, taps)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, data_samples: Any) -> dict[Tap, list[Tensor]]:
        """Run the teacher to its deepest tap and no further.

        Args:
            inputs: Batch (N, 3, H, W) as the student's data preprocessor made it.
            data_samples: N data samples; their labels are not used.

        Returns:
            The tensors of every tap, fp32, without gradients.
        """
        assert self.reader is not None, 'open_taps() comes first'
        self.model.eval()  # somebody may hold a reference and have called train()
        if self.dropout:
            for module in self.dropouts():
                module.train()
        if self.renormalize is not None:
            inputs = self.renormalize(inputs, data_samples)
        with (
            torch.autocast(inputs.device.type, enabled=False),
            self.reader.open(self.model, stop=self.reader.calls is not None),
        ):
            inputs = inputs.to(self.dtype, memory_format=self.memory_format)
            self.model(inputs, data_samples, mode='tensor')
        if self.reader.calls is None:
            self.reader.measured()
        return detached(self.reader.take())

    def dropouts(self) -> list[nn.Module]:
        """Return the modules that drop something at random with a probability above 0."""
        found = []
        for module in self.model.modules():
            # Drop-path is mmcv's, timm's or a package's own; all call it so.
            name = 'drop_prob' if type(module).__name__ == 'DropPath' else 'p'
            if (isinstance(module, _DropoutNd) or name == 'drop_prob') and getattr(module, name):
                found.append(module)
        return found

    def to(self, device: torch.device) -> None:
        """Move the weights to ``device``."""
        self.model.to(device)


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
                cfg = Config.fromfile(mmkd.config(name))
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
