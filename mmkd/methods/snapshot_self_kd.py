"""Self-distillation from the weights of the epoch before."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmkd.methods.base import all_taps, gather
from mmkd.methods.logit_kd import LogitKD
from mmkd.methods.schedule import progressive
from mmkd.registry import MODELS
from mmkd.taps import TapReader, as_fp32
from mmkd.utils import positive
from mmkd.view import View

PREFIX = 'snapshot.'


@MODELS.register_module()
class SnapshotSelfKD(LogitKD):
    """Distill a frozen copy of the student as it was when the epoch began.

    For detectors and segmenters, whose past predictions depend on the augmentation and cannot be
    looked up by image. In epoch t of E,

    ``L = α_t · KL``, ``α_t = α_T · t / E``, with the divergence of
    :class:`~mmkd.methods.logit_kd.LogitKD` between the copy and the student.

    It is 0 in the first epoch. The copy runs on the clean images in eval mode, up to the tap. Its
    weights belong to the method's state, so a resumed run has them.

    Source: the progressive refinement is from Kim et al., "Self-Knowledge Distillation
    with Progressive Refinement of Targets", ICCV 2021, whose detection variant runs the detector of
    the epoch before.

    Args:
        student: Tap of logits or class maps, such as ``bbox_head.retina_cls``.
        alpha: α_T. Defaults to 0.8.
        tau: Temperature. Defaults to 1.0.
        activation: See :class:`~mmkd.methods.logit_kd.LogitKD`. Defaults to ``'softmax'``.
        num_classes: See :class:`~mmkd.methods.logit_kd.LogitKD`. Defaults to None.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: only the abstract describes the paper's detection variant. It replaces the labels
    of region proposals; this form, a divergence on class maps, is ours. The gradient of the
    task loss is not reduced by ``1 - α_t``.
    """

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
        common: Any = dict(weight=weight, warmup_iters=warmup_iters, every=every, levels=levels)
        super().__init__(student, None, tau, activation, num_classes, **common)
        self.alpha = positive(alpha=alpha)
        self.register_buffer('epoch', torch.tensor(-1))  # of the copy; none before epoch 1
        self._epoch: int | None = None  # host copy of `epoch`, avoids a device sync
        self._past: Any = []  # tensors of the copy in this step

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Copy the student and check the shapes."""
        super().build(model, student, student, teachers)
        # A list keeps the copy out of the optimizer, DDP and the student's modes.
        self._snapshot = [revert_sync_batchnorm(copy.deepcopy(model)).requires_grad_(False).eval()]
        self._reader = TapReader(model, dict(all_taps(self.student_taps, 'student')))

    def prepare(self, student: nn.Module, view: View) -> None:
        """Update the copy where an epoch begins; run it on the clean images, up to the tap."""
        (snapshot,) = self._snapshot
        epoch, _ = progressive(self.alpha, type(self).__name__)
        if self._epoch is None:
            self._epoch = int(self.epoch)
            snapshot.to(view.inputs.device)
        if epoch != self._epoch:
            if epoch > 0:  # before, the student is untrained
                snapshot.load_state_dict(student.state_dict())
            self._epoch = epoch
            self.epoch.fill_(epoch)
        self._past = []
        if epoch > 0:
            with torch.no_grad():
                images, samples = view.teacher_inputs, view.teacher_samples
                _, found = self._reader.read(snapshot, images, samples, stop=True)
            self._past = gather(self.student_taps, as_fp32(found, detach=True))

    def forward(self, student: list[Tensor], teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``kd``, α_t times the divergence; 0 in the first epoch."""
        _, alpha = progressive(self.alpha, type(self).__name__)
        past, self._past = self._past, []
        if not past:
            return dict(kd=sum((s.sum() * 0.0 for s in student), student[0].new_zeros(())))
        self.monitored = dict(alpha=torch.tensor(alpha, device=student[0].device))
        return dict(kd=alpha * super().forward(student, past, view)['kd'])

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Save the weights of the copy, which is no child module."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.epoch > 0:
            self._snapshot[0].state_dict(destination=destination, prefix=f'{prefix}{PREFIX}')

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Load the weights of the copy, too."""
        start = f'{prefix}{PREFIX}'
        names = [name for name in state_dict if name.startswith(start)]
        weights = {name.removeprefix(start): state_dict.pop(name) for name in names}
        if weights:
            self._snapshot[0].load_state_dict(weights)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._epoch = None
