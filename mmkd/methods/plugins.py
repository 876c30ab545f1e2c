"""Plug-ins: what refines the teacher of a method, and what tells it where to look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mmkd.view import View

if TYPE_CHECKING:
    from mmkd.methods.base import Method


class Plugin(nn.Module):
    """A part that any feature method takes by a key of its config.

    It is a child of the method, so it moves with it and is saved with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.key = ''  # config key, set by the method
        #: Scalars of the last step that are logged as ``distill.<method>.<name>``.
        self.monitored: dict[str, Tensor] = {}

    def configure(self, key: str) -> None:
        """Check what needs no model. Called once.

        Args:
            key: Config key of this plug-in, for error messages.
        """
        self.key = key

    def build(
        self,
        method: Method,
        model: nn.Module,
        student: Any,
        teacher: Any,
        view: View,
    ) -> None:
        """Create parameters; the method is built. Called once, before training.

        Args:
            method: The method.
            model: The student.
            student: What the student's taps yield on a probe batch.
            teacher: What the teacher's taps yield.
            view: The probe batch.

        Raises:
            ConfigError: The method, or what it reads, cannot be wrapped.
        """


class Refinement(Plugin):
    """Changes what a method reads of the teacher: the key ``refine``."""

    def forward(self, method: Method, student: Any, teacher: Any, view: View) -> Any:
        """Return the teacher's tensors as the student is to see them.

        Args:
            method: The method, to try what its losses say of other tensors.
            student: Tensors of the student's taps, with gradients.
            teacher: Tensors of the teacher's taps, without.
            view: What this step looks at.
        """
        raise NotImplementedError


class Region(Plugin):
    """Adds losses that look at some part of the maps: the key ``region``."""

    def forward(self, method: Method, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return losses that are added to the method's, under its weight.

        Args:
            method: The method, which aligns the maps.
            student: Tensors of the student's taps, with gradients.
            teacher: Tensors of the teacher's taps, refined if there is a refinement.
            view: What this step looks at.
        """
        raise NotImplementedError


PLUGINS: Mapping[str, type[Plugin]] = dict(refine=Refinement, region=Region)
