"""Base class of every distillation method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.methods.adapters import Adapter
from mmkd.methods.schedule import Schedule
from mmkd.taps import Tap, TapConfig
from mmkd.utils import ensure, log_warning
from mmkd.view import View

# What a method reads: a list of tensors, or a dict of lists where its taps are a dict.
Maps = list[Tensor]
Tensors = Maps | dict[str, Maps]
Taps = tuple[Tap, ...] | dict[str, tuple[Tap, ...]]


class Method(nn.Module):
    """A distillation method: taps of student and teacher, and a dict of losses.

    A subclass implements :meth:`forward`, checks its arguments in ``__init__`` (see
    :mod:`mmkd.utils.checks`) and implements :meth:`build` if it owns parameters whose shapes
    depend on the tapped tensors, or works with some models only.

    Keys of :class:`~mmkd.utils.ConfigError` are relative, such as ``'tau'``: whoever builds or runs
    the method prefixes ``model.distill.methods.<name>``.

    Shapes in this package: N batch, C channels, H × W map, K classes, L levels, M masks, P patches.

    Args:
        student: Tap of the student: a module path, ``dict(module=…, source=…, levels=…,
            tokens=…)``, or a list of them. A dict of names to taps is read as a dict.
        teacher: The same for the teacher; ``'name:path'`` where there are several teachers.
            Defaults to None, a method without teacher.
        levels: Which of the tapped tensors to use, on both sides. Defaults to None, all.
        weight: Weight of the method's losses: a number or the arguments of a
            :class:`~mmkd.methods.schedule.Schedule`. Defaults to 1.0.
        resize: Whether student's and teacher's maps may differ in size, so that the student's are
            resized. Defaults to False: maps of different strides are an error.
        warmup_iters: Deprecated; use ``weight=dict(value=…, warmup_iters=…)``. Defaults to None.
        every: Deprecated; use ``weight=dict(value=…, every=…)``. Defaults to None.

    Any method also takes the keys ``refine`` and ``region``, see :mod:`mmkd.methods.plugins`.
    """

    #: Tasks that the method is for.
    tasks: tuple[str, ...] = ('cls', 'det', 'seg')
    #: Mixers that it works with: ``'any'`` (or none), ``'none'`` at all, or those that make
    #: ``'pairs'``.
    mixers: str = 'any'
    #: Whether the teacher's tensors arrive as those of the mixed batch. A method that wants the
    #: clean batch's sets it to False and calls ``view.simulate`` or ``view.mixture`` itself.
    simulate: bool = True
    #: Terms that train the method's own parameters and may leave the student without a gradient.
    auxiliary: tuple[str, ...] = ()

    def __init__(
        self,
        student: TapConfig | Mapping[str, TapConfig] | None = None,
        teacher: TapConfig | Mapping[str, TapConfig] | None = None,
        levels: Sequence[int] | None = None,
        weight: Any = 1.0,
        resize: bool = False,
        warmup_iters: int | None = None,
        every: int | None = None,
    ) -> None:
        super().__init__()
        #: Config key, set by the builder; for warnings.
        self.key = type(self).__name__
        self.resize = resize
        self.schedule = Schedule.parse(weight, warmup_iters, every)
        self.student_taps = parse_taps(student, levels, 'student')
        self.teacher_taps = parse_taps(teacher, levels, 'teacher')
        self._said: set[str] = set()
        #: Scalars of the last step that are logged as ``distill.<method>.<name>`` and not summed.
        self.monitored: dict[str, Tensor] = {}

    def check_models(self, model: nn.Module, teachers: Any) -> None:
        """Check the models before the taps are looked up, where an error says more than a tap's.

        Args:
            model: The student.
            teachers: The teachers by name (``''`` for a single one).

        Raises:
            ConfigError: The method does not support them.
        """

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create parameters from the tensors of a small probe batch. Called once, before training.

        Args:
            model: The student.
            student: Tensors of the student's taps on the probe batch.
            teacher: Tensors of the teacher's taps.
            teachers: The teachers by name (``''`` for a single one).

        Raises:
            ConfigError: The models or their tensors do not fit.
        """

    def before_epoch(self, student: nn.Module, batches: Any) -> None:
        """Read the training data from the dataloader ``batches``.

        :class:`~mmkd.engine.hooks.distill_hook.DistillHook` calls it at the start of every epoch;
        in a loop over iterations only once.
        """

    def prepare(self, student: nn.Module, view: View) -> None:
        """Do what precedes the student's own forward pass. Called in each active step."""

    def build_adapters(self, student: Maps, teacher: Maps, kind: str = 'auto') -> nn.ModuleList:
        """Return one :class:`~mmkd.methods.adapters.Adapter` of a kind for each pair of maps.

        Raises:
            ConfigError: There are more maps on one side, or something is no map.
        """
        self.check_pairs(student, teacher, ndim=4)
        return nn.ModuleList(
            Adapter(s.shape[1], t.shape[1], kind, s.shape[2] / t.shape[2])
            for s, t in zip(student, teacher)
        )

    def check_pairs(self, student: Sequence[Tensor], teacher: Sequence[Tensor], ndim: int) -> None:
        """Check that both sides yield as many tensors, each with ``ndim`` dimensions, of one size.

        Raises:
            ConfigError: They do not.
        """
        shapes = [[tuple(t.shape[1:]) for t in side] for side in (student, teacher)]
        ensure(
            len(student) == len(teacher),
            'levels',
            f'the student yields {len(student)} tensors {shapes[0]} and the teacher '
            f'{len(teacher)} {shapes[1]}; choose levels that correspond',
        )
        for s, t in zip(student, teacher):
            ensure(
                s.ndim == t.ndim == ndim,
                'student',
                f'cannot align {tuple(s.shape)} with {tuple(t.shape)}: {ndim} dimensions are '
                'expected (for token sequences use dict(module=…, tokens=True))',
            )
            ensure(self.resize or s.shape[2:] == t.shape[2:], 'resize', misfit(student, teacher))

    def compute(self, student: Tensors, teacher: Tensors, view: View) -> dict[str, Tensor]:
        """Return the losses of one step, checked; the teacher's tensors simulated if need be.

        Raises:
            ConfigError: :meth:`forward` does not return a dict of scalars.
        """
        losses = self(student, self.simulated(teacher, view), view)
        check_losses(losses)
        return losses

    def simulated(self, teacher: Tensors, view: View) -> Tensors:
        """Return the teacher's tensors as :meth:`forward` takes them."""
        return apply(view.simulate, teacher) if self.simulate else teacher

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return the method's losses, unweighted.

        Args:
            student: Tensors of the student's taps, fp32, with gradients.
            teacher: Those of the teacher's, fp32, without; of the mixed batch if ``simulate``.
            view: What this step looks at.

        Returns:
            Scalars by name; they are logged as ``distill.<method>.loss_<name>``.
        """
        raise NotImplementedError

    def masks(self, student: Any, teacher: Any, view: View) -> list[Tensor]:
        """Return the spatial masks by which the method weighs the maps, for pictures.

        The arguments are those of :meth:`forward`.

        Returns:
            One tensor (N, M, H, W) of M masks for each level; none by default.
        """
        return []

    def compared(self, student: Any, teacher: Any, view: View) -> list[tuple[Tensor, Tensor]]:
        """Return the maps that the method compares, for pictures of their difference.

        The arguments are those of :meth:`forward`.

        Returns:
            Student's and teacher's map (N, C, H, W) for each level; by default what ``adapters``
            align, none for a method without.
        """
        adapters = getattr(self, 'adapters', None)
        if adapters is None or not isinstance(student, list):
            return []
        triples = zip(adapters, student, teacher)
        return [(adapt(s, tuple(t.shape[-2:])), t) for adapt, s, t in triples]

    def warn_once(self, argument: str, message: str) -> None:
        """Log a warning about an argument, or ``''``, the first time only."""
        if argument not in self._said:
            self._said.add(argument)
            log_warning(f'{self.key}.{argument}: {message}'.replace('.:', ':'))

    @torch.no_grad()
    def forget_nonfinite(self) -> None:
        """Set to 0 what is not finite in the buffers (queues, tables), after a bad step."""
        for buffer in self.buffers():
            if buffer.is_floating_point():
                buffer.nan_to_num_(0.0, 0.0, 0.0)

    def zero_loss(self) -> Tensor | None:
        """Return a zero that touches every parameter, for steps without this method.

        DDP without a search for unused parameters needs every parameter in every graph.
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        return torch.stack([p.sum() * 0.0 for p in parameters]).sum() if parameters else None


def misfit(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> str:
    """Return the error for maps (N, C, H, W) that differ in size, with the pairs that do not."""
    sizes, others = ([tuple(t.shape[2:]) for t in side] for side in (student, teacher))
    shown = [', '.join('×'.join(map(str, size)) for size in side) for side in (sizes, others)]
    pairs = [(i, others.index(size)) for i, size in enumerate(sizes) if size in others]
    hint = 'none of them correspond; '
    if pairs:
        own, other = zip(*pairs)
        hint = f"the student's {own} correspond to the teacher's {other}; set levels on each side, "
    return (
        f"the student's maps have sizes {shown[0]} and the teacher's {shown[1]} on the probe "
        f"batch, so their strides differ: {hint}or set resize=True to resize the student's"
    )


def check_losses(losses: Any) -> None:
    """Check what :meth:`Method.forward` returned.

    Raises:
        ConfigError: It is not a dict of scalar tensors by name.
    """
    ensure(
        isinstance(losses, dict),
        '',
        'forward() must return a dict of scalar losses by name, such as dict(kl=loss), got a '
        f'{type(losses).__name__}',
    )
    for name, value in losses.items():
        shape = tuple(value.shape) if isinstance(value, Tensor) else None
        what = f'a {type(value).__name__}' if shape is None else f'shape {shape}'
        start = f'loss {name!r} of forward() must'
        ensure(shape == (), '', f'{start} be a scalar tensor, got {what}; reduce it')
        ensure(
            not name.startswith('loss'),
            '',
            f"{start} not start with 'loss': it is logged as 'distill.<method>.loss_{name}'",
        )


def parse_taps(config: Any, levels: Sequence[int] | None, key: str) -> Taps:
    """Turn the taps of one side of a config into :class:`~mmkd.taps.Tap` objects."""
    if config is None:
        return ()
    if isinstance(config, Mapping) and 'module' not in config:
        return {name: Tap.parse(v, levels, f'{key}.{name}') for name, v in config.items()}
    return Tap.parse(config, levels, key)


def apply(function: Any, tensors: Tensors) -> Tensors:
    """Apply a function to every tensor of a list or of a dict of lists."""
    if isinstance(tensors, dict):
        return {name: [function(t) for t in kept] for name, kept in tensors.items()}
    return [function(t) for t in tensors]


def all_taps(taps: Taps, key: str) -> list[tuple[Tap, str]]:
    """List the taps of one side with their config keys."""
    if isinstance(taps, dict):
        return [(tap, f'{key}.{name}') for name, kept in taps.items() for tap in kept]
    return [(tap, key) for tap in taps]


def gather(taps: Taps, tensors: Mapping[Tap, list[Tensor]]) -> Tensors:
    """Return the tensors in the structure of the taps."""
    if isinstance(taps, dict):
        return {name: [t for tap in kept for t in tensors[tap]] for name, kept in taps.items()}
    return [t for tap in taps for t in tensors[tap]]
