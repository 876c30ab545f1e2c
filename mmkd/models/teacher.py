"""The frozen teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from mmkd.models.fusion import conv_bn_pairs, fuse_exactly, untapped
from mmkd.models.normalization import Renormalizer
from mmkd.models.patches import fit_patches
from mmkd.models.speed import PRECISIONS, Form, Trial, compile_between, fastest, try_forms
from mmkd.registry import arguments_of
from mmkd.taps import Tap, TapReader, as_fp32
from mmkd.utils import ConfigError, check_names, config_key, log_warning, non_negative, one_of
from mmkd.utils.loading import build_plain, hash_of, load_config, load_strictly

KEY = 'model.distill'
Features = dict[Tap, list[Tensor]]
NO_TEACHER = 'must be dict(config=…, checkpoint=…), or a dict of names to those'


class Teacher:
    """A frozen model.

    It is deliberately not an ``nn.Module``: so it is in no state dict, no optimizer, no DDP
    broadcast and no EMA copy, and ``train()`` on the student cannot reach it. The distiller moves
    it between devices. Images that its patches do not fill are resized, see
    :func:`~mmkd.models.patches.fit_patches`.

    Args:
        config: Config of the teacher: a path, ``'mmdet::…'``, or a config object.
        checkpoint: A path, a URL, or ``'auto'`` for the weights of the config's metafile.
        precision: ``'fp32'``, ``'bf16'`` or ``'fp16'`` for the teacher alone; tapped tensors are
            converted to fp32. Defaults to ``'fp32'``.
        fuse_conv_bn: Fold BatchNorm into the convolutions wherever no tap lies in between. It is
            exact up to rounding, which is checked when the teacher is built. Defaults to True.
        channels_last: Store maps channels last, which is faster on most processors, above all in
            bf16. Defaults to False.
        compile: Compile the modules between the taps with ``torch.compile``, in the first step; if
            that fails, the teacher runs uncompiled, with a warning. Defaults to False.
        overlap: On CUDA, run on a stream of its own beside the student's forward pass. It needs
            memory for both at once. Ignored, with a warning, on a CPU. Defaults to False.
        speed: ``'auto'`` measures the forms (``precision`` × ``channels_last``) on the first batch
            and takes the fastest whose error is at most ``max_error``. Defaults to None.
        max_error: Largest relative error of a tapped tensor against fp32 for ``speed='auto'``.
            Defaults to 0.02.
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
        fuse_conv_bn: bool = True,
        channels_last: bool = False,
        compile: bool = False,
        overlap: bool = False,
        speed: str | None = None,
        max_error: float = 0.02,
        trusted: bool = False,
        key: str = 'model.distill.teacher',
    ) -> None:
        with config_key(key):
            one_of(PRECISIONS, precision=precision)
            one_of((None, 'auto'), speed=speed)
            non_negative(max_error=max_error)
            if speed and (precision != 'fp32' or channels_last):
                raise ConfigError(
                    'speed', "'auto' chooses precision and channels_last itself: leave them out"
                )
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
        self.model = fit_patches(revert_sync_batchnorm(self.model)).requires_grad_(False).eval()
        self.form = Form(precision, channels_last)
        self.fuse_conv_bn = fuse_conv_bn
        self.compile = compile
        self.overlap = overlap
        self.speed = speed
        self.max_error = max_error
        self.fused: list[tuple[str, str]] = []
        self.trials: list[Trial] = []
        self.tapped_bytes = 0  # size of the last tapped tensors, for benchmarks
        self._probed: tuple[Any, Features, list[tuple[str, str]]] | None = None
        self._started = False  # whether the first real batch has been seen
        self._undo_compile: Callable[[], None] | None = None
        #: Whether dropout and drop-path are active; all other modules stay in eval mode.
        self.dropout = False
        self.renormalize: Renormalizer | None = None
        self.reader: TapReader | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.form.dtype

    def open_taps(self, taps: Mapping[Tap, str]) -> None:
        """Decide, once, what :meth:`__call__` reads."""
        self.reader = TapReader(self.model, taps)

    @torch.no_grad()
    def probe(self, inputs: Tensor, data_samples: Any, whole: bool = False) -> Features:
        """Run a small batch through the teacher.

        Args:
            inputs: Batch (N, 3, H, W); its values do not matter.
            data_samples: N data samples.
            whole: See :meth:`~mmkd.taps.TapReader.read`. Defaults to False.

        Returns:
            The tensors of every tap, fp32; of noise.
        """
        # Noise, because on an empty image much is equal that is not the same.
        noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0))
        run = partial(self._read, self.model, Form(), noise, data_samples, whole=whole)
        expected: Features = {}
        pairs = conv_bn_pairs(self.model, lambda: expected.update(run()))
        self._probed = run, expected, pairs
        return expected

    @torch.no_grad()
    def speed_up(self) -> None:
        """Bring the teacher into its fast form, after :meth:`probe`. Once."""
        assert self._probed is not None, 'probe() comes first'
        run, expected, pairs = self._probed
        self._probed = None
        if self.fuse_conv_bn:
            pairs = untapped(pairs, expected)
            self.fused = fuse_exactly(self.model, pairs, expected, run, self.key)
        self.form.apply(self.model)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, data_samples: Any) -> Features:
        """Run the teacher to its deepest tap and no further.

        Args:
            inputs: Batch (N, 3, H, W) as the student's data preprocessor made it.
            data_samples: N data samples; their labels are not used.

        Returns:
            The tensors of every tap, fp32, without gradients.
        """
        if self.renormalize is not None:
            inputs = self.renormalize(inputs, data_samples)
        if not self._started:
            self._start(inputs, data_samples)
        run = partial(self._read, self.model, self.form, inputs, data_samples, self.dropout)
        if self._undo_compile is None:
            return run()
        try:
            return run()
        except Exception as error:  # a missing compiler may raise anything
            self._undo_compile()
            self._undo_compile = None
            read = run()  # raises errors that are unrelated to compiling
            reason = f'{type(error).__name__}: {error}'.splitlines()[0]
            log_warning(
                f'{self.key}.compile: torch.compile failed, so the teacher runs without it: '
                f'{reason}'
            )
            return read

    def _start(self, inputs: Tensor, data_samples: Any) -> None:
        """Choose precision and format, and set up the compiler, on the first real batch."""
        assert self.reader is not None
        self._started = True

        def read(model: nn.Module, form: Form) -> list[Tensor]:
            found = self._read(model, form, inputs, data_samples)
            return [tensor for kept in found.values() for tensor in kept]

        if self.speed == 'auto':
            self.trials = try_forms(self.model, read, inputs.device)
            self.form = fastest(self.trials, self.max_error).form
            self.form.apply(self.model)
        if self.compile:
            tapped = {tap.module for tap in self.reader.taps}
            self._undo_compile = compile_between(self.model, tapped, inputs.device)

    def _read(
        self,
        model: nn.Module,
        form: Form,
        inputs: Tensor,
        data_samples: Any,
        dropout: bool = False,
        whole: bool = False,
    ) -> Features:
        """Run a model in its form, to the deepest tap once the first pass has found it."""
        assert self.reader is not None, 'open_taps() comes first'
        model.eval()  # other code may have called train()
        if dropout:
            for module in self.dropouts():
                module.train()
        inputs = form.convert(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            found = self.reader.read(model, inputs, data_samples, stop=True, whole=whole)[1]
        features = as_fp32(found, detach=True)
        self.tapped_bytes = sum(tensor.nbytes for kept in features.values() for tensor in kept)
        return features

    def dropouts(self) -> list[nn.Module]:
        """Return the dropout and drop-path modules with a probability above 0."""
        found = []
        for module in self.model.modules():
            # mmcv, timm and other packages all use this class name.
            name = 'drop_prob' if type(module).__name__ == 'DropPath' else 'p'
            if (isinstance(module, _DropoutNd) or name == 'drop_prob') and getattr(module, name):
                found.append(module)
        return found

    def describe(self) -> str:
        """Return precision, format and fusion, and the trials of ``speed='auto'``."""
        parts = [str(self.form), f'{len(self.fused)} conv-BN pairs fused' if self.fused else '']
        parts.append('compiled' if self._undo_compile is not None else '')
        text = ', '.join(part for part in parts if part)
        trials = [
            f'{t.form} {1000 * t.seconds:.0f} ms (error {t.error:.1e})'
            + (' <- chosen' if t.form == self.form else '')
            for t in self.trials
        ]
        return '\n  '.join([text, *trials])

    def to(self, device: torch.device) -> None:
        """Move the weights to ``device``."""
        self.model.to(device)


def build_teachers(teacher: Mapping[str, Any] | None) -> dict[str, Teacher]:
    """Load the teachers by name, ``''`` for a single one.

    Args:
        teacher: Arguments of a :class:`Teacher`, or a dict of names to such arguments.

    Raises:
        ConfigError: An argument is invalid, or a teacher cannot be loaded.
    """
    return {
        name: Teacher(**check_arguments(config, key), key=key)
        for name, config, key in teacher_configs(teacher)
    }


def teacher_configs(teacher: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any], str]]:
    """Return name, config and config key of every teacher; None drops one."""
    if teacher and not isinstance(teacher, Mapping):
        raise ConfigError(f'{KEY}.teacher', NO_TEACHER)
    if 'config' in (teacher := teacher or {}):
        return [('', teacher, f'{KEY}.teacher')]
    given = [(name, config) for name, config in teacher.items() if config is not None]
    return [(name, config, f'{KEY}.teacher.{name}') for name, config in given]


def check_arguments(config: Any, key: str) -> dict[str, Any]:
    """Return a teacher's arguments.

    Raises:
        ConfigError: One is unknown, or ``config`` is missing.
    """
    known = arguments_of(Teacher)
    known.remove('key')
    if not isinstance(config, Mapping) or 'config' not in config:
        raise ConfigError(key, NO_TEACHER)
    with config_key(key):
        check_names(config, known)
    return dict(config)
