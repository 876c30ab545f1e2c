"""Self-distillation from the weights of the epoch before."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmkd.methods.base import Tensors, all_taps, gather
from mmkd.methods.logit_kd import LogitKD
from mmkd.methods.schedule import progressive
from mmkd.registry import MODELS
from mmkd.taps import TapReader, as_fp32
from mmkd.utils import ConfigError
from mmkd.view import View

PREFIX = 'snapshot.'


@MODELS.register_module()
class SnapshotSelfKD(LogitKD):
    """Distil a frozen copy of the student as it was when the epoch began.

    For models whose past predictions cannot be looked up by the image, because they depend on the
    augmentation: detectors and segmenters. In epoch t of E,

    ``L = α_t · KL``, ``α_t = α_T · t / E``, with the divergence of
    :class:`~mmkd.methods.logit_kd.LogitKD` between the copy and the student.

    It is 0 in the first epoch. The copy runs on the clean images in eval mode, as far as the tap.
    Its weights belong to the method's state, so a resumed run has them.

    Source: the idea of progressive refinement is that of Kim et al., "Self-Knowledge Distillation
    with Progressive Refinement of Targets", ICCV 2021, whose detection variant runs the detector of
    the epoch before.

    Args:
        student: Tap of logits or class maps, such as ``bbox_head.retina_cls``.
        alpha: α_T. Defaults to 0.8.
        tau: Temperature. Defaults to 1.0.
        activation: See :class:`~mmkd.methods.logit_kd.LogitKD`. Defaults to ``'softmax'``.
        num_classes: See :class:`~mmkd.methods.logit_kd.LogitKD`. Defaults to None.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the paper's detection variant is known from its abstract only. It replaces the
    labels of region proposals; this form, a divergence on class maps, is ours. The gradient of the
    task loss is not reduced by ``1 - α_t``.
    """

    grows = True
    epoch: Tensor

    def __init__(
        self,
        student: Any,
        alpha: float = 0.8,
        tau: float = 1.0,
        activation: str = 'softmax',
        num_classes: int | None = None,
        weight: Any = 1.0,
        warmup_iters: int | None = None,
        every: int | None = None,
        levels: Any = None,
    ) -> None:
        super().__init__(
            student,
            None,
            tau,
            activation,
            num_classes,
            weight=weight,
            warmup_iters=warmup_iters,
            every=every,
            levels=levels,
        )
        self.alpha = alpha
        self.register_buffer('epoch', torch.tensor(-1))  # at whose begin the copy was made
        self._epoch: int | None = None  # the same, at no wait for the device
        # In no state dict of the student, no optimizer, no DDP broadcast: plain attributes.
        self._snapshot: list[nn.Module] = []
        self._loaded: dict[str, Tensor] = {}  # weights of a copy that is not made yet
        self._reader: TapReader | None = None
        self._read: Any = []
        if not self.alpha > 0:
            raise ConfigError('alpha', f'is above 0, not {self.alpha}')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Check the shapes: the copy yields what the student yields."""
        super().build(model, student, student, teachers)

    def prepare(self, student: nn.Module, view: View) -> None:
        """Copy the student where an epoch begins; run the copy."""
        epoch, _ = progressive(self.alpha, type(self).__name__)
        if self._epoch is None:
            self._epoch = int(self.epoch)
        if epoch != self._epoch:
            if epoch > 0:  # before its first epoch the student has nothing to say
                self._copy(student, student.state_dict())
            self._epoch = epoch
            self.epoch.fill_(epoch)
        elif self._loaded:
            self._copy(student, self._loaded)
        self._read = self._run(view) if self._snapshot else []

    def _copy(self, student: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Give the copy these weights; make it first, where there is none."""
        self._loaded = {}
        if not self._snapshot:
            distiller = student._modules.pop('distiller', None)
            try:
                twin = revert_sync_batchnorm(copy.deepcopy(student))
            finally:
                if distiller is not None:
                    student._modules['distiller'] = distiller
            self._snapshot = [twin.requires_grad_(False).eval()]
            taps = dict(all_taps(self.student_taps, 'student'))
            self._reader = TapReader(twin, taps)
        self._snapshot[0].load_state_dict(weights)

    @torch.no_grad()
    def _run(self, view: View) -> Tensors:
        """Run the copy on the clean images, to the deepest tap."""
        assert self._reader is not None
        model = self._snapshot[0]
        _, found = self._reader.read(model, view.teacher_inputs, view.teacher_samples, stop=True)
        return gather(self.student_taps, as_fp32(found, detach=True))

    def forward(self, student: list[Tensor], teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``kd``, α_t times the divergence; 0 in the first epoch."""
        _, alpha = progressive(self.alpha, type(self).__name__)
        past, self._read = self._read, []
        if not past:
            return dict(kd=sum((s.sum() * 0.0 for s in student), student[0].new_zeros(())))
        self.monitored = dict(alpha=torch.tensor(alpha, device=student[0].device))
        return dict(kd=alpha * super().forward(student, past, view)['kd'])

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Save the weights of the copy, which is no child module."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        weights = self._snapshot[0].state_dict() if self._snapshot else {}
        for name, value in (self._loaded or weights).items():
            destination[f'{prefix}{PREFIX}{name}'] = value

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Keep the weights of the copy until the student is at hand."""
        start = f'{prefix}{PREFIX}'
        for name in [name for name in state_dict if name.startswith(start)]:
            self._loaded[name.removeprefix(start)] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._epoch = None
