"""A teacher as a model of its own, for testing it as distillation runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.utils import apply_to
from torch import Tensor, nn

from mmkd.models.normalization import Renormalizer
from mmkd.models.teacher import Teacher, check_arguments
from mmkd.probe import probe
from mmkd.registry import MODELS
from mmkd.taps import Tap
from mmkd.utils.loading import build_plain

# Modules that post-processing reads. Taps are read as fp32 too, and NMS has no half precision.
LAST_MODULES = ('bbox_head', 'rpn_head', 'mask_head', 'conv_seg', 'head')


@MODELS.register_module()
class TeacherAlone(BaseModel):
    """A teacher that predicts from the batches of the student's data preprocessor.

    Precision, conv-BN fusion, renormalization and evaluation mode are those of distillation; with
    ``speed='auto'``, which chooses on the batches of a training run, the precision is fp32.

    Args:
        student: Model config of the plain student; only its data preprocessor is used.
        scope: Default scope of the student's config.
        teacher: Arguments of :class:`~mmkd.models.teacher.Teacher`.
        key: Config key of the teacher, for error messages.
        probe_size: Height and width of the small batch on which the fusion is checked. Defaults to
            None: found out, see :mod:`mmkd.probe`.
    """

    def __init__(
        self,
        student: Mapping[str, Any],
        scope: str,
        teacher: Mapping[str, Any],
        key: str,
        probe_size: tuple[int, int] | None = None,
    ) -> None:
        plain = build_plain(Config(dict(model=student, default_scope=scope)), 'model')
        super().__init__(data_preprocessor=plain.data_preprocessor)
        self.teacher = Teacher(**check_arguments(teacher, key), key=key)
        self.model = self.teacher.model  # registered, so that it moves to the device
        self.teacher.open_taps({Tap('backbone'): key})
        probe([self.model], probe_size, self.teacher.probe)
        self.teacher.speed_up()
        self.renormalize = Renormalizer.between(
            plain.data_preprocessor, self.model.data_preprocessor
        )
        for name, module in self.model.named_modules():
            if name.split('.')[-1] in LAST_MODULES:
                module.register_forward_hook(to_float)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """Run the teacher on a batch (N, 3, H, W) of the student's data preprocessor."""
        if self.renormalize is not None:
            inputs = self.renormalize(inputs, data_samples)
        with torch.autocast(inputs.device.type, enabled=False):
            return self.model(self.teacher.form.convert(inputs), data_samples, mode=mode)


def to_float(module: nn.Module, args: Any, output: Any) -> Any:
    """Forward hook: convert half-precision outputs to fp32, in nested containers as well."""
    return apply_to(
        output,
        lambda value: isinstance(value, Tensor) and torch.is_floating_point(value),
        Tensor.float,
    )
