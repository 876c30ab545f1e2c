"""Base class of every distillation method."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.methods.adapters import Adapter
from mmkd.methods.plugins import PLUGINS
from mmkd.methods.schedule import Schedule
from mmkd.registry import build
from mmkd.taps import Tap, TapConfig
from mmkd.utils import ConfigError
from mmkd.view import View

# What a method reads: a list of tensors, or a dict of lists where its taps are a dict.
Tensors = list[Tensor] | dict[str, list[Tensor]]
Taps = tuple[Tap, ...] | dict[str, tuple[Tap, ...]]


class Method(nn.Module):
    """A distillation method: it declares what it reads and returns a dict of losses.

    A subclass implements :meth:`forward` and, if it owns parameters whose shapes depend on the
    tapped tensors, :meth:`build`.

    Shapes in this package: N batch, C channels, H × W map, K classes, L levels, M masks, P patches.

    Args:
        student: Tap of the student: a module path, ``dict(module=…, source=…, levels=…,
            tokens=…)``, or a list of them. A dict of names to taps is read as a dict.
        teacher: The same for the teacher; ``'name:path'`` where there are several teachers.
            Defaults to None, a method without teacher.
        levels: Which of the tapped tensors to use, on both sides. Defaults to None, all.
        weight: Weight of the method's losses: a number or a
            :class:`~mmkd.methods.schedule.Schedule`. Defaults to 1.0.
        warmup_iters: Linear warm-up of the weight. Defaults to 0.
        every: Use the method only every so many iterations; in between its teacher rests. Defaults
            to 1.
        refine: Config of a :class:`~mmkd.methods.plugins.Refinement`, which changes the teacher's
            maps before the method sees them. Experimental. Defaults to None.
        region: Config of a :class:`~mmkd.methods.plugins.Region`, which adds losses on a part of
            the maps. Experimental. Defaults to None.
    """

    #: Whether the teacher's tensors arrive as those of the mixed batch. A method that wants the
    #: clean batch's sets it to False and calls ``view.simulate`` or ``view.mixture`` itself.
    simulate: bool = True
    #: Terms that train the method's own parameters and may leave the student without a gradient.
    auxiliary: tuple[str, ...] = ()
    #: Whether the loss starts near 0 in an untrained student and grows, as it does where what the
    #: student says of two images is compared: a small first value is nothing to warn of.
    grows: bool = False

    def __init__(
        self,
        student: TapConfig | Mapping[str, TapConfig] | None = None,
        teacher: TapConfig | Mapping[str, TapConfig] | None = None,
        levels: Sequence[int] | None = None,
        weight: Any = 1.0,
        warmup_iters: int = 0,
        every: int = 1,
        refine: Mapping[str, Any] | None = None,
        region: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.key = ''  # config key, set by the distiller
        self._taps_config: dict[str, Any] = dict(student=student, teacher=teacher, levels=levels)
        self._weight = dict(weight=weight, warmup_iters=warmup_iters, every=every)
        self._plugin_configs = dict(refine=refine, region=region)
        self.plugins = nn.ModuleDict()
        self.student_taps: Taps = ()
        self.teacher_taps: Taps = ()
        #: Scalars of the last step that are logged as ``distill.<method>.<name>`` and not summed.
        self.monitored: dict[str, Tensor] = {}

    def configure(self, key: str) -> None:
        """Check what needs no model: taps, weight, plug-ins. Called once by the distiller.

        Args:
            key: Config key of this method, for error messages.
        """
        self.key = key
        self.schedule = Schedule.parse(key=f'{key}.weight', **self._weight)
        self.student_taps = self._parse('student')
        self.teacher_taps = self._parse('teacher')
        for name, config in self._plugin_configs.items():
            if config is not None:
                plugin = build(config, PLUGINS[name], f'{key}.{name}')
                plugin.configure(f'{key}.{name}')
                self.plugins[name] = plugin

    def _parse(self, side: str) -> Taps:
        config, levels = self._taps_config[side], self._taps_config['levels']
        key = f'{self.key}.{side}'
        if config is None:
            return ()
        if isinstance(config, Mapping) and 'module' not in config:
            return {name: Tap.parse(v, levels, f'{key}.{name}') for name, v in config.items()}
        return Tap.parse(config, levels, key)

    def build(self, student: Tensors, teacher: Tensors, teachers: Mapping[str, Any]) -> None:
        """Create parameters from the tensors of a small probe batch. Called once, before training.

        Args:
            student: What the student's taps yield on the probe.
            teacher: What the teacher's taps yield.
            teachers: The teachers by name (``''`` for a single one).

        Raises:
            ConfigError: The tensors do not fit.
        """

    def build_plugins(
        self, model: nn.Module, student: Tensors, teacher: Tensors, view: View
    ) -> None:
        """Build the plug-ins, after :meth:`build`.

        Args:
            model: The student.
            student: As in :meth:`build`.
            teacher: As in :meth:`build`.
            view: The probe batch.

        Raises:
            ConfigError: The method cannot be wrapped.
        """
        for plugin in self.plugins.values():
            plugin.build(self, model, student, teacher, view)

    def check(self, student: nn.Module, mixer: nn.Module | None) -> None:
        """Refuse students and mixers that the method cannot work with. Called once, at the end.

        Args:
            student: The student.
            mixer: The batch mixer, or None.

        Raises:
            ConfigError: The method cannot work with them.
        """

    def before_epoch(self, student: nn.Module, batches: Any) -> None:
        """Look at the training data before it is learned from.

        Called by :class:`~mmkd.engine.hooks.distill_hook.DistillHook` at the start of every epoch,
        and once in a loop over iterations.

        Args:
            student: The student.
            batches: The training dataloader.
        """

    def prepare(self, student: nn.Module, view: View) -> None:
        """Do what has to precede the student's own forward pass. Called in each active step.

        Args:
            student: The student.
            view: What this step looks at.
        """

    def build_adapters(self, student: Tensors, teacher: Tensors) -> nn.ModuleList:
        """Return one adapter for each pair of maps.

        Raises:
            ConfigError: There are more maps on one side, or something is no map.
        """
        assert isinstance(student, list) and isinstance(teacher, list)
        self.check_pairs(student, teacher, ndim=4)
        return nn.ModuleList(Adapter(s.shape[1], t.shape[1]) for s, t in zip(student, teacher))

    def check_pairs(self, student: Sequence[Tensor], teacher: Sequence[Tensor], ndim: int) -> None:
        """Check that both sides yield as many tensors, each with ``ndim`` dimensions.

        Raises:
            ConfigError: They do not.
        """
        shapes = [[tuple(t.shape[1:]) for t in side] for side in (student, teacher)]
        if len(student) != len(teacher):
            raise ConfigError(
                f'{self.key}.levels',
                f'the student yields {len(student)} tensors {shapes[0]} and the teacher '
                f'{len(teacher)} {shapes[1]}; choose levels that correspond',
            )
        for s, t in zip(student, teacher):
            if s.ndim != ndim or t.ndim != ndim:
                raise ConfigError(
                    f'{self.key}.student',
                    f'cannot align {tuple(s.shape)} with {tuple(t.shape)}: {ndim} dimensions are '
                    'expected (for token sequences use dict(module=…, tokens=True))',
                )
            if s.shape[2:] != t.shape[2:]:
                print_log(
                    f"{self.key}: the student's map of {tuple(s.shape[2:])} cells and the "
                    f"teacher's of {tuple(t.shape[2:])} are brought to one size (on the probe "
                    'batch); tap maps of the same stride where there are some',
                    logger='current',
                    level=logging.WARNING,
                )

    def run(self, student: Tensors, teacher: Tensors, view: View) -> dict[str, Tensor]:
        """Return the losses of one step: teacher simulated if need be, plug-ins included."""
        teacher = self.simulated(teacher, view)
        if 'refine' in self.plugins:
            teacher = self.plugins['refine'](self, student, teacher, view)
        losses = self(student, teacher, view)
        if 'region' in self.plugins:
            losses = {**losses, **self.plugins['region'](self, student, teacher, view)}
        for plugin in self.plugins.values():
            self.monitored.update(plugin.monitored)
        return losses

    def simulated(self, teacher: Tensors, view: View) -> Tensors:
        """Return the teacher's tensors as :meth:`forward` takes them."""
        return apply(view.simulate, teacher) if self.simulate else teacher

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return the method's losses, unweighted.

        Args:
            student: Tensors of the student's taps, fp32, with gradients.
            teacher: Tensors of the teacher's taps, fp32, without; of the mixed batch if
                ``simulate``.
            view: What this step looks at.

        Returns:
            Scalars by name; they are logged as ``distill.<method>.loss_<name>``.
        """
        raise NotImplementedError

    def masks(self, student: Any, teacher: Any, view: View) -> list[Tensor]:
        """Return the spatial masks by which the method weighs the maps, for pictures.

        Args:
            student: As in :meth:`forward`.
            teacher: As in :meth:`forward`.
            view: As in :meth:`forward`.

        Returns:
            One tensor (N, M, H, W) of M masks for each level; none by default.
        """
        return []

    def compared(self, student: Any, teacher: Any, view: View) -> list[tuple[Tensor, Tensor]]:
        """Return the maps that the method compares, for pictures of their difference.

        Args:
            student: As in :meth:`forward`.
            teacher: As in :meth:`forward`.
            view: As in :meth:`forward`.

        Returns:
            Student's and teacher's map (N, C, H, W) for each level; by default what ``adapters``
            align, none for a method without.
        """
        adapters = getattr(self, 'adapters', None)
        if adapters is None or not isinstance(student, list):
            return []
        sizes = [tuple(t.shape[-2:]) for t in teacher]
        return [(adapt(s, z), t) for adapt, s, t, z in zip(adapters, student, teacher, sizes)]

    @torch.no_grad()
    def forget_nonfinite(self) -> None:
        """Set to 0 what is not finite in the buffers (queues, tables), after a bad step."""
        for buffer in self.buffers():
            if buffer.is_floating_point():
                buffer.nan_to_num_(0.0, 0.0, 0.0)

    def unused(self) -> Tensor | None:
        """Return a zero that touches every parameter, for steps without this method.

        DDP without a search for unused parameters needs every parameter in every graph.
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        if not parameters:
            return None
        return sum(
            (p.sum() * 0.0 for p in parameters), torch.zeros((), device=parameters[0].device)
        )


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
