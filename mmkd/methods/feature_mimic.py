"""Feature mimicking: FitNet hints of raw or normalized maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import mimic_loss
from mmkd.methods.adapters import ADAPTERS
from mmkd.methods.base import Maps
from mmkd.methods.maps import MapMethod
from mmkd.registry import MODELS
from mmkd.utils import deprecated, integer, one_of
from mmkd.view import View


@MODELS.register_module()
class FeatureMimic(MapMethod):
    """Pull the student's maps towards the teacher's, level by level.

    ``L = Σ_l mean (φ_l(F_s^l) - F_t^l)²`` or, normalized by ν,
    ``L = Σ_l ½ mean (ν(φ_l(F_s^l)) - ν(F_t^l))²``, where φ is the adapter.

    Source: FitNet, Romero et al., ICLR 2015, eq. 3, and its re-implementations in
    winycg/CIRKD@dab64db (``losses/fitnet.py``) and megvii-research/mdistiller@a08d46f
    (``distillers/FitNet.py``); PKD, Cao et al., NeurIPS 2022, eq. 4-5, and
    open-mmlab/mmrazor@90c7af1 (``losses/pkd_loss.py``).

    Args:
        student: Tap of L maps (N, C_student, H, W).
        teacher: Tap of L maps (N, C_teacher, H, W).
        normalize: ν, see :class:`~mmkd.methods.maps.MapMethod`: ``'channel'`` as in PKD, ``'map'``,
            or None. True and False are deprecated names of ``'channel'`` and None. Defaults to
            None.
        interior_only: Leave out the locations within this distance, in locations, of a patch border
            of a mixed image: the teacher's receptive field covers other content there than the
            student's. Defaults to 0.
        adapter: What the student's map passes: ``'auto'``, a 1×1 convolution where the channels
            differ; ``'conv'``, always one, as in CIRKD; ``'regressor'``, mdistiller's convolution,
            batch normalization and ReLU. Defaults to ``'auto'``.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: FitNet trains the hint in a separate stage; here it is one of the losses. The mean
    replaces the paper's sum, as in both re-implementations. The 1×1 convolution has a bias; that of
    CIRKD has none. Maps of two sizes are interpolated where mdistiller's regressor has a larger
    kernel or none.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        normalize: str | bool | None = None,
        interior_only: int = 0,
        adapter: str = 'auto',
        **kwargs: Any,
    ) -> None:
        if isinstance(normalize, bool):
            new = 'channel' if normalize else None
            deprecated(f'normalize={normalize}', f'normalize={new!r}')
            normalize = new
        super().__init__(student, teacher, normalize=normalize, **kwargs)
        self.adapter = one_of(ADAPTERS, adapter=adapter)
        self.interior_only = integer(0, interior_only=interior_only)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the adapters."""
        self.adapters = self.build_adapters(student, teacher, self.adapter)

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``mimic``, the sum over the levels."""
        levels = [
            mimic_loss(s, t, view.interior(tuple(t.shape[-2:]), self.interior_only))
            for s, t in self.compared(student, teacher, view)
        ]
        return dict(mimic=(0.5 if self.normalize else 1.0) * torch.stack(levels).sum())
