"""GPD: distillation from a teacher that grows around the student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import soft_cross_entropy
from mmkd.methods.base import Method, Tensors, all_taps, gather
from mmkd.methods.classification import check_logits
from mmkd.methods.schedule import Schedule
from mmkd.models.probe import probe_batch
from mmkd.models.wide import WideTwin
from mmkd.registry import MODELS, build
from mmkd.taps import TapReader, flatten
from mmkd.utils import ConfigError
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
        warmup_iters: int = 0,
    ) -> None:
        super().__init__(dict(logits=student), weight=weight, warmup_iters=warmup_iters)
        self.ratio = ratio
        self.kd_weight = kd_weight
        self._static = static
        self.static: Method | None = None
        # Task loss and tensors of the dynamic teacher in this step.
        self._grown: tuple[Tensor, Any]

    def configure(self, key: str) -> None:
        """Check the arguments; build the static method and read what it reads."""
        super().configure(key)
        if type(self.ratio) is not int or self.ratio < 2:
            raise ConfigError(f'{key}.ratio', f'is a whole number from 2 on, not {self.ratio!r}')
        if not self.kd_weight > 0:
            raise ConfigError(f'{key}.kd_weight', f'is above 0, not {self.kd_weight}')
        if self._static is None:
            return
        self.static = build(self._static, Method, f'{key}.static')
        self.static.configure(f'{key}.static')
        taps = (self.static.student_taps, self.static.teacher_taps)
        if not all(isinstance(side, tuple) and side for side in taps):
            raise ConfigError(f'{key}.static', 'is a method on the logits of student and teacher')
        if self.static.schedule != Schedule(self.static.schedule.value):
            raise ConfigError(
                f'{key}.static.weight', f'is a number; a schedule is for {key}.weight'
            )
        assert isinstance(self.student_taps, dict)
        self.student_taps['static'] = self.static.student_taps  # type: ignore[assignment]
        self.teacher_taps = self.static.teacher_taps

    def build(self, student: Tensors, teacher: Tensors, teachers: Mapping[str, Any]) -> None:
        """Check the shapes."""
        assert isinstance(student, dict)
        check_logits(student['logits'], self.key)
        if self.static is not None:
            self.static.build(student['static'], teacher, teachers)
            if next(self.static.parameters(), None) is not None:
                raise ConfigError(
                    f'{self.key}.static',
                    'is a method on the logits; this one has parameters, which cannot fit both the '
                    'student and the wider dynamic teacher',
                )

    def check(self, student: nn.Module, mixer: nn.Module | None) -> None:
        """Grow the dynamic teacher, and see that it starts as the student.

        Raises:
            ConfigError: The student is no plain ResNet.
        """
        refused = (
            'GPD widens networks of plain convolutions, BatchNorm and one classifier, such as '
        )
        refused += 'ResNets: '
        try:
            self.wide = WideTwin(student, self.ratio)
        except ValueError as error:
            raise ConfigError('model.backbone', f'{refused}{error}') from error
        self._taps = dict(all_taps(self.student_taps, f'{self.key}.student'))
        self._reader = TapReader(self.wide.twin[0], self._taps)
        inputs, samples = probe_batch(student, PROBE)
        inputs = torch.randn_like(inputs)
        self.wide.twin[0].eval()  # no dropout; BatchNorm has no statistics but those of the batch
        try:
            with torch.no_grad():
                runs = (self.wide, self.wide.narrow)
                wide, narrow = (
                    list(flatten(run(student, inputs, samples, 'tensor'))) for run in runs
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
        with self._reader.open(self.wide.twin[0]):
            losses = self.wide(student, view.inputs, view.data_samples, 'loss')
        task = [t.float().mean() for k, v in losses.items() if 'loss' in k for t in flatten(v)]
        read = {tap: [t.float() for t in kept] for tap, kept in self._reader.take().items()}
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
                for term, value in self.static.run(tensors['static'], teacher, view).items():
                    losses[f'{side}_{term}'] = value * self.static.schedule.value
        return losses
