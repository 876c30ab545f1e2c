"""The metric of a teacher as distillation runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn

from mmkd.models.normalization import Renormalizer
from mmkd.models.teacher import Teacher, check_arguments, teacher_configs
from mmkd.registry import MODELS
from mmkd.taps import Tap, flatten, probe_batch
from mmkd.utils.errors import ConfigError, did_you_mean
from mmkd.utils.loading import build_plain
from mmkd.utils.student_config import is_distilled, plain_config

# Modules that post-processing reads. Taps are read as fp32 too, and NMS has no half precision.
LAST_MODULES = ('bbox_head', 'rpn_head', 'mask_head', 'conv_seg', 'head')


@MODELS.register_module()
class TeacherAlone(BaseModel):
    """A teacher that predicts on what the student's data preprocessor makes.

    Precision, conv-BN fusion, re-normalisation and evaluation mode are those of distillation; with
    ``speed='auto'``, which chooses on the batches of a training run, it is fp32.

    Args:
        student: Model config of the plain student; only its data preprocessor is used.
        scope: Default scope of the student's config.
        teacher: Arguments of :class:`~mmkd.models.teacher.Teacher`.
        key: Config key of the teacher, for error messages.
        probe_size: Height and width of the small batch on which the fusion is checked. Defaults to
            (128, 128).
    """

    def __init__(
        self,
        student: Mapping[str, Any],
        scope: str,
        teacher: Mapping[str, Any],
        key: str,
        probe_size: tuple[int, int] = (128, 128),
    ) -> None:
        plain = build_plain(Config(dict(model=student, default_scope=scope)), 'model')
        super().__init__(data_preprocessor=plain.data_preprocessor)
        self.teacher = Teacher(**check_arguments(teacher, key), key=key)
        self.model = self.teacher.model  # registered, so that it moves to the device
        self.teacher.open_taps({Tap('backbone'): key})
        self.teacher.probe(*probe_batch(self.model, (probe_size[0], probe_size[1])))
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
    """Forward hook: turn half-precision outputs into fp32, whatever holds them."""
    if all(t.dtype == torch.float32 for t in flatten(output)):
        return output
    return as_float(output)


def as_float(value: Any) -> Any:
    """Return nested tuples, lists and dicts with every floating tensor in fp32."""
    if isinstance(value, Tensor):
        return value.float() if torch.is_floating_point(value) else value
    if isinstance(value, Mapping):
        return {k: as_float(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(as_float(v) for v in value)
    return value


def teacher_run_config(cfg: Config, split: str = 'test', name: str | None = None) -> Config:
    """Return the config of a test run of a distillation config's teacher.

    Args:
        cfg: The distillation config.
        split: ``'test'`` or ``'val'``. Defaults to ``'test'``.
        name: Which teacher, where there are several. Defaults to None.

    Raises:
        ConfigError: There is no such teacher or split.
    """
    distill = cfg.model.get('distill') if is_distilled(cfg) else None
    teachers = {n: (c, key) for n, c, key in teacher_configs((distill or {}).get('teacher'))}
    if not teachers:
        raise ConfigError('model.distill.teacher', 'the config has no teacher to test')
    if name is None and len(teachers) == 1:
        name = next(iter(teachers))
    if name not in teachers:
        asked = f'no teacher {name!r}' if name else 'there are several teachers'
        raise ConfigError('--teacher', f'{asked}{did_you_mean(name or "", teachers)}')
    for part in ('dataloader', 'evaluator'):
        if not cfg.get(f'{split}_{part}'):
            raise ConfigError(f'{split}_{part}', f'the config has none, so no --split {split}')
    plain = plain_config(cfg)
    if split == 'val':
        plain.test_dataloader, plain.test_evaluator = plain.val_dataloader, plain.val_evaluator
        plain.test_cfg = dict()
    student = plain.model.to_dict()
    if plain.get('data_preprocessor'):
        student.setdefault('data_preprocessor', plain.pop('data_preprocessor').to_dict())
    config, key = teachers[name]
    plain.model = dict(
        type='mmkd.TeacherAlone',
        student=student,
        scope=plain.get('default_scope', 'mmengine'),
        teacher=config,
        key=key,
        probe_size=(distill or {}).get('probe_size', (128, 128)),
    )
    # Hooks such as EMA belong to the student.
    plain.custom_hooks, plain.load_from, plain.resume = [], None, False
    return plain


def evaluate_teacher(cfg: Config, split: str = 'test', name: str | None = None) -> dict[str, float]:
    """Return the metrics of a distillation config's teacher; see :func:`teacher_run_config`."""
    return Runner.from_cfg(teacher_run_config(cfg, split, name)).test()
