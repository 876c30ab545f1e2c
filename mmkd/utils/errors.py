"""Configuration errors and deprecation warnings."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from mmengine.logging import print_log

# Top-level keys of a config: a key that starts with one of them is absolute.
ABSOLUTE = (
    'auto_scale_lr', 'custom_hooks', 'data_preprocessor', 'default_hooks', 'model.',
    'optim_wrapper', 'param_scheduler', 'test_', 'train_', 'val_', 'vis_backends', 'visualizer',
)  # fmt: skip


class ConfigError(ValueError):
    """A config value is invalid.

    Args:
        key: The config key at fault. It is relative to the component that raises the error, such
            as ``'tau'``; whoever builds or runs the component prefixes it, see
            :func:`config_key`. A key that starts with a top-level key of a config, such as
            ``'model.head.cal_acc'`` or ``'train_dataloader.batch_size'``, stays as it is. ``''``
            is the component itself.
        message: What is wrong and what to do.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message
        super().__init__(f'{key}: {message}' if key else message)

    def within(self, prefix: str) -> ConfigError:
        """Return the error with ``prefix`` in front of a relative key."""
        if self.key.startswith(ABSOLUTE):
            return self
        return type(self)('.'.join(part for part in (prefix, self.key) if part), self.message)


def ensure(valid: object, key: str, message: str) -> None:
    """Raise a :class:`ConfigError` unless ``valid`` holds."""
    if not valid:
        raise ConfigError(key, message)


@contextmanager
def config_key(prefix: str) -> Iterator[None]:
    """Prefix the relative keys of all config errors that are raised inside."""
    try:
        yield
    except ConfigError as error:
        raise error.within(prefix) from error.__cause__


@contextmanager
def refuse(key: str, message: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn exceptions of some kinds that are raised inside into a ConfigError with their reason."""
    try:
        yield
    except kinds as error:
        reason = first_line(error, getattr(error, 'strerror', None))
        raise ConfigError(key, f'{message}: {reason}') from error


def first_line(error: object, reason: str | None = None) -> str:
    """Return the first line of an exception's message, or of the ``reason`` instead."""
    text = str(reason or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def deprecated(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that a name will be removed in the next release.

    Args:
        old: What the user wrote.
        new: What to write instead.
        stacklevel: As of :func:`warnings.warn`. Defaults to 3, the caller of the function that
            calls this one.
    """
    message = f'{old} is deprecated and will be removed in the next release; use {new}'
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)


def log_warning(message: str) -> None:
    """Write a warning to the log of the run."""
    print_log(message, logger='current', level=logging.WARNING)


class Interrupted(SystemExit):
    """A run stopped on request, with its work saved; exit code 143, as for SIGTERM."""

    def __init__(self) -> None:
        super().__init__(143)


class NonFiniteError(ArithmeticError):
    """A distillation loss is NaN or infinite."""


def did_you_mean(name: str, known: Iterable[str], limit: int = 4) -> str:
    """Return a sentence with the known names nearest to ``name``, or an empty string."""
    known = list(known)
    near = get_close_matches(name, known, n=limit, cutoff=0.4)
    if not near:
        near = [k for k in known if name.split('.')[0] == k.split('.')[0]][:limit]
    if not near and len(known) <= 12:
        near = known
    return f'; the nearest are: {", ".join(near)}' if near else ''


def check_names(names: Iterable[str], known: Iterable[str], owner: str = '') -> None:
    """Check that all names are known; ``owner`` is what has them, for the message.

    Raises:
        ConfigError: A name does not exist; its key is the name itself.
    """
    known = list(known)
    for name in names:
        if name not in known:
            what = f'{owner} has no such argument' if owner else 'no such key'
            raise ConfigError(name, what + did_you_mean(name, known))
