"""GPD: distillation from a teacher that grows around the student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import soft_cross_entropy
from mmkd.methods.base import Method, Tensors, all_taps, gather
from mmkd.methods.classification import check_logits
from mmkd.methods.plugins import build_part, part_losses
from mmkd.models.wide import WideTwin
from mmkd.registry import MODELS
from mmkd.taps import TapReader, as_fp32, flatten, probe_batch
from mmkd.utils import ConfigError, config_key, integer, positive
from mmkd.view import View

PROBE = (64, 64)


@MODELS.register_module()
class GPD(Method):
    """Distil a dynamic teacher that contains the student and is trained with it.

    A trained teacher may be too far ahead. The dynamic teacher starts as the student, is ``ratio``
    times as wide, and stays a step ahead: the first channels of each of its layers are the
    student's own (the same parameters), the rest belongs to the distiller. In the beginning both
    compute the same. With the student's logits z_s and the dynamic teacher's z_d,

    ``L = L_task(z_s) + w · [L_task(z_d) + λ CE(softmax(z_d), z_s)]``

    where w is the method's weight and the student's own loss the first term. The target carries no
    gradient; the task loss of the dynamic teacher trains the shared parameters as well. With
    ``static`` both networks also learn from an ordinary teacher.

    A step costs about 1 + ``ratio``² plain ones. What is saved is the plain student.

    Source: Guo et al., "Gap Preserving Distillation by Building Bidirectional Mappings with A
    Dynamic Teacher", ICLR 2025, and the authors' code.

    Args:
        student: Tap of the logits (N, K), such as ``head.fc``.
        ratio: How many times as wide the dynamic teacher is. Defaults to 2.
        kd_weight: λ. Defaults to 3.0, as in all published commands.
        static: Config of a method on the logits, such as ``dict(type='mmkd.LogitKD', …)``, by which
            student and dynamic teacher learn from the configured teacher. Defaults to None.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: this is the smallest form. The dynamic teacher is wider, but its convolutions have
    no parallel branches that are merged in the end. In the beginning the added inputs have weight
    0; the authors expand the student's weights. BatchNorm shares scale and shift with the student
    and not the statistics; in several processes each has its own. Networks of plain convolutions,
    BatchNorm and one linear layer, such as ResNets, and no others.
    """

    simulate = False  # `static` decides

    def __init__(
        self,
        student: Any,
        ratio: int = 2,
        kd_weight: float = 3.0,
        static: Mapping[str, Any] | None = None,
        weight: Any = 1.0,
        warmup_iters: int | None = None,
    ) -> None:
        super().__init__(dict(logits=student), weight=weight, warmup_iters=warmup_iters)
        self.ratio = integer(2, ratio=ratio)
        self.kd_weight = positive(kd_weight=kd_weight)
        self.static: Method | None = None
        # Task loss and tensors of the dynamic teacher in this step.
        self._grown: tuple[Tensor, Any]
        if static is None:
            return
        self.static = build_part(static, 'static')
        taps = (self.static.student_taps, self.static.teacher_taps)
        if not all(isinstance(side, tuple) and side for side in taps):
            raise ConfigError('static', 'must be a method on the logits of student and teacher')
        self.student_taps['static'] = self.static.student_taps  # type: ignore[assignment,index]
        self.teacher_taps = self.static.teacher_taps

    def build(
        self,
        model: nn.Module,
        student: Tensors,
        teacher: Tensors,
        teachers: Mapping[str, Any],
    ) -> None:
        """Grow the dynamic teacher, and check that it starts as the student.

        Raises:
            ConfigError: The student is no plain ResNet, or ``static`` has parameters.
        """
        assert isinstance(student, dict)
        check_logits(student['logits'])
        if self.static is not None:
            with config_key('static'):
                self.static.build(model, student['static'], teacher, teachers)
            if next(self.static.parameters(), None) is not None:
                raise ConfigError(
                    'static',
                    'must be a method without parameters; they cannot fit both the student and '
                    'the wider dynamic teacher',
                )
        refused = (
            'GPD widens networks of plain convolutions, BatchNorm and one classifier, such as '
        )
        refused += 'ResNets: '
        try:
            self.wide = WideTwin(model, self.ratio)
        except ValueError as error:
            raise ConfigError('model.backbone', f'{refused}{error}') from error
        self._taps = dict(all_taps(self.student_taps, 'student'))
        self._reader = TapReader(self.wide.twin[0], self._taps)
        inputs, samples = probe_batch(model, PROBE)
        inputs = torch.randn_like(inputs)
        self.wide.twin[0].eval()  # no dropout; BatchNorm has no statistics but those of the batch
        try:
            with torch.no_grad():
                runs = (self.wide, self.wide.narrow)
                wide, narrow = (
                    list(flatten(run(model, inputs, samples, 'tensor'))) for run in runs
                )
        except (RuntimeError, NotImplementedError) as error:
            raise ConfigError('model.backbone', f'{refused}{error}') from error
        self.wide.twin[0].train()
        if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(wide, narrow)):
            raise ConfigError(
                'model.backbone', f'{refused}the wider network does not start as the student'
            )

    def prepare(self, student: nn.Module, view: View) -> None:
        """Run the dynamic teacher, in the precision of the student."""
        losses, found = self._reader.read(
            self.wide.twin[0],
            view.inputs,
            view.data_samples,
            run=lambda inputs, samples: self.wide(student, inputs, samples, 'loss'),
        )
        task = [t.float().mean() for k, v in losses.items() if 'loss' in k for t in flatten(v)]
        read = as_fp32(found)
        self._grown = torch.stack(task).sum(), gather(self.student_taps, read)

    def forward(
        self, student: dict[str, list[Tensor]], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``wide``, ``kd`` and the terms of ``static``, of both networks."""
        loss, grown = self._grown
        del self._grown  # its graph belongs to this step
        target = grown['logits'][0].detach().softmax(1)
        losses = dict(
            wide=loss, kd=self.kd_weight * soft_cross_entropy(student['logits'][0], target)
        )
        if self.static is not None:
            for side, tensors in (('static', student), ('wide_static', grown)):
                losses.update(part_losses(self.static, side, tensors['static'], teacher, view))
        return losses
