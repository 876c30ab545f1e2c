"""Composites: methods inside of methods, and plug-ins that wrap a method.

Any method takes the config keys ``refine``, a :class:`Refinement` of the teacher's maps, and
``region``, a :class:`Region` that adds losses on a part of the maps. :func:`build_method` wraps the
method then; the method itself does not know its plug-ins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.methods.base import Method, Tensors
from mmkd.methods.schedule import Schedule
from mmkd.registry import build
from mmkd.utils import config_key, ensure
from mmkd.view import View


class Plugin(nn.Module):
    """A part that wraps any feature method."""

    def __init__(self) -> None:
        super().__init__()
        #: Config key, set by the builder; for warnings.
        self.key = type(self).__name__
        #: Scalars of the last step that are logged as ``distill.<method>.<name>``.
        self.monitored: dict[str, Tensor] = {}

    def build(self, method: Any, model: nn.Module, student: Any, teacher: Any, view: View) -> None:
        """Create parameters, as in :meth:`Method.build`, after those of the method.

        ``view`` is the probe batch.

        Raises:
            ConfigError: The method, or what it reads, cannot be wrapped.
        """


class Refinement(Plugin):
    """Changes the teacher's tensors before a method sees them: the key ``refine``."""

    def forward(self, method: Method, student: Any, teacher: Any, view: View) -> Any:
        """Return the teacher's tensors that the student is compared with.

        The arguments are those of :meth:`Method.forward`, and the method, to evaluate its losses on
        other tensors.
        """
        raise NotImplementedError


class Region(Plugin):
    """Adds losses on some part of the maps: the key ``region``."""

    def forward(self, method: Method, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return losses that are added to the method's, under its weight.

        The arguments are those of :meth:`Method.forward`, and the method, which aligns the maps;
        the teacher's tensors are refined if there is a refinement.
        """
        raise NotImplementedError


PLUGINS: Mapping[str, type[Plugin]] = dict(refine=Refinement, region=Region)


class Plugged(Method):
    """A method with plug-ins.

    Args:
        method: The method; taps, schedule and class attributes are those of it.
        plugins: The plug-ins by their config key, ``refine`` and ``region``.
    """

    def __init__(self, method: Method, plugins: Mapping[str, Plugin]) -> None:
        super().__init__()
        self.method = method
        self.plugins = nn.ModuleDict(plugins)
        self.key, self.schedule = method.key, method.schedule
        self.student_taps, self.teacher_taps = method.student_taps, method.teacher_taps
        self.tasks, self.mixers = method.tasks, method.mixers
        self.simulate, self.auxiliary = method.simulate, method.auxiliary

    def check_models(self, model: nn.Module, teachers: Any) -> None:
        """Forward to the method."""
        self.method.check_models(model, teachers)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Build the method, then its plug-ins."""
        self.method.build(model, student, teacher, teachers)
        view = View.plain(torch.empty(0), [])  # a probe batch has no samples
        for name, plugin in self.plugins.items():
            with config_key(name):
                plugin.build(self.method, model, student, teacher, view)

    def before_epoch(self, student: nn.Module, batches: Any) -> None:
        """Forward to the method."""
        self.method.before_epoch(student, batches)

    def prepare(self, student: nn.Module, view: View) -> None:
        """Forward to the method."""
        self.method.prepare(student, view)

    def simulated(self, teacher: Tensors, view: View) -> Tensors:
        """Forward to the method."""
        return self.method.simulated(teacher, view)

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return the method's losses of the refined teacher, and those of the region."""
        if 'refine' in self.plugins:
            teacher = self.plugins['refine'](self.method, student, teacher, view)
        losses = self.method(student, teacher, view)
        if 'region' in self.plugins:
            losses = {**losses, **self.plugins['region'](self.method, student, teacher, view)}
        for part in (self.method, *self.plugins.values()):
            self.monitored.update(part.monitored)
        return losses

    def masks(self, student: Any, teacher: Any, view: View) -> list[Tensor]:
        """Forward to the method."""
        return self.method.masks(student, teacher, view)

    def compared(self, student: Any, teacher: Any, view: View) -> list[tuple[Tensor, Tensor]]:
        """Forward to the method."""
        return self.method.compared(student, teacher, view)

    def forget_nonfinite(self) -> None:
        """Forward to the method and the plug-ins."""
        super().forget_nonfinite()
        self.method.forget_nonfinite()


def build_method(config: Any, key: str) -> Method:
    """Build the method at a config key, wrapped in its plug-ins if it has some.

    Raises:
        ConfigError: Something in the config is invalid.
    """
    if not isinstance(config, Mapping):
        return build(config, Method, key)  # raises the error
    named = {name: base for name, base in PLUGINS.items() if config.get(name) is not None}
    plugins = {name: build(config[name], base, f'{key}.{name}') for name, base in named.items()}
    method = build({k: v for k, v in config.items() if k not in PLUGINS}, Method, key)
    return Plugged(method, plugins) if plugins else method


def build_part(config: Any, key: str) -> Method:
    """Build a method that is a part of another one, at a key below that; its weight is a number.

    Raises:
        ConfigError: Something in the config is invalid, or the weight is a schedule.
    """
    part = build_method(config, key)
    fixed = part.schedule == Schedule(part.schedule.value)
    text = 'must be a number; only the weight of the whole method is scheduled'
    ensure(fixed, f'{key}.weight', text)
    return part


def part_losses(
    part: Method, prefix: str, student: Tensors, teacher: Tensors, view: View
) -> dict[str, Tensor]:
    """Return the losses of a part with its weight, as ``<prefix>_<term>``."""
    losses = part.compute(student, teacher, view)
    return {f'{prefix}_{term}': value * part.schedule.value for term, value in losses.items()}
