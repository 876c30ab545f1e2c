"""Base class of the methods that compare aligned maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmkd.functional import NORMALIZATIONS, normalized
from mmkd.methods.base import Maps, Method
from mmkd.utils import one_of
from mmkd.view import View


class MapMethod(Method):
    """A method that compares the student's aligned maps with the teacher's.

    Args:
        student: Tap of L maps (N, C_student, H, W).
        teacher: Tap of L maps (N, C_teacher, H, W).
        normalize: What removes the scale of the maps: ``'channel'`` or ``'map'``, see
            :func:`~mmkd.functional.normalized`. It applies to both sides, to the student's maps
            once they are aligned and to the teacher's once they are simulated; the losses and
            their gradients do not depend on the teacher's scale then. It is ours, except for PKD.
            Defaults to None, the raw maps.
        **kwargs: See :class:`~mmkd.methods.base.Method`.
    """

    def __init__(
        self, student: Any, teacher: Any, *, normalize: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.normalize = one_of(NORMALIZATIONS, normalize=normalize)

    def compared(self, student: Maps, teacher: Maps, view: View) -> list[tuple[Tensor, Tensor]]:
        """Return the aligned maps, normalized."""
        pairs = super().compared(student, teacher, view)
        return [(normalized(s, self.normalize), normalized(t, self.normalize)) for s, t in pairs]
