"""Taps: read what modules of a model compute, for one forward pass at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from mmkd.utils import ConfigError, config_key, did_you_mean, one_of, run_heads

# A tap as configs write it: a module path, a dict, or a list of either.
TapConfig = str | Mapping[str, Any] | Sequence[Any]


class DeepestTapReached(Exception):  # noqa: N818 (a signal, not an error)
    """Ends a forward pass after the last call of a tap."""


@dataclass(frozen=True)
class Tap:
    """A place of a model that is read during a forward pass.

    Args:
        module: Path of the module, such as ``neck`` or ``bbox_head.retina_cls``.
        source: ``'output'`` or ``'input'`` of the module. Defaults to ``'output'``.
        levels: Which of the tensors to keep, negative indices counting from the end. A module that
            returns several tensors, or that is called several times (a head shared by pyramid
            levels), yields them in order. Defaults to None, all.
        tokens: Turn token sequences (N, H·W [+ class tokens], C) into square maps (N, C, H, W).
            Defaults to False.
        clone: Copy the tensors as they are read, where an inplace activation overwrites them.
            Defaults to False.
        model: Name of the teacher that is read, where there are several. Defaults to ``''``.
    """

    module: str
    source: str = 'output'
    levels: tuple[int, ...] | None = None
    tokens: bool = False
    clone: bool = False
    model: str = ''

    @classmethod
    def parse(cls, config: TapConfig, levels: Sequence[int] | None, key: str) -> tuple[Tap, ...]:
        """Turn a config value into taps.

        Args:
            config: ``'neck'``, ``'teacher_name:neck'``, a dict of this class's arguments, a list.
            levels: Levels of every tap that does not name its own.
            key: Config key for error messages.

        Raises:
            ConfigError: The value is no tap.
        """
        if isinstance(config, (str, Mapping)):
            config = dict(module=config) if isinstance(config, str) else dict(config)
            unknown = set(config) - set(cls.__dataclass_fields__)
            if unknown or not isinstance(config.get('module'), str):
                raise ConfigError(
                    key,
                    'a tap must be a module path or dict(module=…, source=…, levels=…, tokens=…, '
                    f'clone=…), got {config}',
                )
            with config_key(key):
                one_of(('output', 'input'), source=config.get('source', 'output'))
            model, _, module = config['module'].rpartition(':')
            config.update(module=module, model=config.get('model', model))
            config['levels'] = parse_levels(config.get('levels', levels), key)
            return (cls(**config),)
        if isinstance(config, Sequence):
            return tuple(tap for item in config for tap in cls.parse(item, levels, key))
        raise ConfigError(key, f'a tap must be a module path, a dict or a list, got {config!r}')

    def __str__(self) -> str:
        name = f'{self.model}:{self.module}' if self.model else self.module
        return name + (' (input)' if self.source == 'input' else '')


def parse_levels(levels: Any, key: str) -> tuple[int, ...] | None:
    """Return level indices as a tuple.

    Raises:
        ConfigError: They are not a list of integers, or it is empty.
    """
    if levels is None:
        return None
    if not isinstance(levels, (list, tuple)) or not levels or set(map(type, levels)) != {int}:
        raise ConfigError(key, f'levels must be integers such as (0, 1, 2), got {levels!r}')
    return tuple(levels)


def resolve(model: nn.Module, tap: Tap, key: str) -> nn.Module:
    """Return the module that a tap names.

    Raises:
        ConfigError: There is no such module, or it is a container that is never called.
    """
    modules = {k: m for k, m in model.named_modules() if k and not k.startswith('distiller')}
    module = modules.get(tap.module)
    if module is None:
        near = did_you_mean(tap.module, modules)
        raise ConfigError(key, f'{type(model).__name__} has no module {tap.module!r}{near}')
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        inside = [f'{tap.module}.{name}' for name, _ in module.named_children()]
        raise ConfigError(
            key,
            f'{tap.module!r} is a container ({type(module).__name__}) and is never called; tap a '
            f'module inside: {", ".join(inside[:6])}',
        )
    return module


class TapReader:
    """Reads several taps during one forward pass of a model.

    The hooks exist only inside :meth:`read`; the model is neither changed nor kept.

    Args:
        model: The student or a teacher.
        taps: The taps, with the config key of each.

    Raises:
        ConfigError: A tap cannot be resolved.
    """

    def __init__(self, model: nn.Module, taps: Mapping[Tap, str]) -> None:
        for tap, key in taps.items():
            resolve(model, tap, key)
        self.taps = dict(taps)
        #: Calls of each tap in one forward pass; None before the first one.
        self.calls: dict[Tap, int] | None = None
        self._records: dict[Tap, list[tuple[Tensor, int]]] = {}  # tensor and version
        self._fired: dict[Tap, int] = {}

    def read(
        self,
        model: nn.Module,
        inputs: Any,
        data_samples: Any,
        run: Callable[..., Any] | None = None,
        stop: bool = False,
        whole: bool = False,
    ) -> tuple[Any, dict[Tap, list[Tensor]]]:
        """Run a model once and return its output with the tensors of every tap.

        The first pass measures how often each tap is called; every later pass has to agree.

        Args:
            model: The model, with the modules that were checked at build time.
            inputs: Batch (N, C, H, W).
            data_samples: N data samples.
            run: Called with both instead of :func:`~mmkd.utils.run_heads`. Defaults to None.
            stop: End the pass after the last call of a tap; the output is None then. Defaults to
                False.
            whole: Raise any exception of the model. Defaults to False: an exception of a first pass
                without ``run`` is ignored if every tap has been called before.

        Raises:
            ConfigError: A tap was not called, or more or less often than in the first pass, or
                yielded no tensor, a level is out of range, a tensor was modified in place after it
                was read, or tokens do not form a square.
        """
        ignore = self.calls is None and run is None and not whole
        auxiliary = any(tap.module.startswith('auxiliary_head') for tap in self.taps)
        run = partial(run_heads, model, auxiliary=auxiliary) if run is None else run
        output = None
        with self._hooks(model, stop), suppress(DeepestTapReached):
            try:
                output = run(inputs, data_samples)
            except Exception:
                # What lies behind the deepest tap need not run on a probe batch.
                if not ignore or not all(self._fired.values()):
                    raise
        return output, self._take()

    @contextmanager
    def _hooks(self, model: nn.Module, stop: bool) -> Iterator[None]:
        """Record the tapped tensors inside the ``with`` block."""
        self._records = {tap: [] for tap in self.taps}
        self._fired = dict.fromkeys(self.taps, 0)
        handles = []
        for tap in self.taps:
            # Not kept from __init__: the Runner replaces modules (SyncBN) after the build.
            module = model.get_submodule(tap.module)
            record = self._make_hook(tap, stop and self.calls is not None)
            if tap.source == 'input':  # before the module, which may overwrite its input
                handles.append(module.register_forward_pre_hook(record, with_kwargs=True))
            else:
                handles.append(module.register_forward_hook(record))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _make_hook(self, tap: Tap, stop: bool) -> Any:
        def hook(module: nn.Module, args: Any, last: Any) -> None:
            # `last` is the output, or the keyword arguments in front of the module.
            tensors = list(flatten((args, last) if tap.source == 'input' else last))
            if tap.clone:
                tensors = [t.clone() for t in tensors]
            self._records[tap] += [(t, t._version) for t in tensors]
            self._fired[tap] += 1
            if stop and self._fired == self.calls:
                raise DeepestTapReached

        return hook

    def _take(self) -> dict[Tap, list[Tensor]]:
        """Return the tensors of the last pass and release them."""
        taken = {}
        for tap, key in self.taps.items():
            tensors = self._records[tap]
            if self.calls is None and not tensors:
                what = 'is not called' if not self._fired[tap] else 'yields no tensor'
                raise ConfigError(
                    key,
                    f'{tap.module!r} {what} in the forward pass, so it cannot be distilled; '
                    'tools/list_taps.py lists the modules that are called, with shapes',
                )
            if self.calls is not None and self._fired[tap] != self.calls[tap]:
                raise ConfigError(
                    key,
                    f'{tap.module!r} was called {self._fired[tap]} times in this step and '
                    f'{self.calls[tap]} times in the probe; tap a module whose calls do not vary',
                )
            picked = range(len(tensors)) if tap.levels is None else tap.levels
            for level in picked:
                if not -len(tensors) <= level < len(tensors):
                    raise ConfigError(
                        key,
                        f'level {level} is out of range: {tap.module!r} yields {len(tensors)} '
                        f'tensors, so levels go from 0 to {len(tensors) - 1}',
                    )
                tensor, version = tensors[level]
                if tensor._version != version:
                    raise ConfigError(
                        key,
                        f'{tap.module!r} (level {level}) was modified in place after it was read, '
                        'by an inplace activation most likely; tap that activation instead, or '
                        'dict(module=…, clone=True)',
                    )
            kept = [tensors[level][0] for level in picked]
            taken[tap] = [tokens_to_map(t, key) for t in kept] if tap.tokens else kept
        self.calls = dict(self._fired)
        self._records = {}
        return taken


def flatten(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (Mapping, tuple, list)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from flatten(item)


def tokens_to_map(tokens: Tensor, key: str) -> Tensor:
    """Turn tokens (N, H·W + E, C) into a map (N, C, H, W), H = W, dropping E ≤ 2 leading tokens.

    Maps are returned as they are.

    Raises:
        ConfigError: The number of tokens is no square plus 0, 1 or 2 class tokens.
    """
    if tokens.ndim == 4:
        return tokens
    for extra in (0, 1, 2) if tokens.ndim == 3 else ():
        cells = tokens.shape[1] - extra
        side = round(max(cells, 0) ** 0.5)
        if side and side * side == cells:
            return tokens[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    raise ConfigError(key, f'tokens of shape {tuple(tokens.shape)} do not form a square map')


def as_fp32(tensors: Mapping[Tap, list[Tensor]], detach: bool = False) -> dict[Tap, list[Tensor]]:
    """Convert every tensor of a reading to fp32, with its graph or detached."""
    convert = (lambda t: t.detach().float()) if detach else Tensor.float
    return {tap: [convert(t) for t in kept] for tap, kept in tensors.items()}
