"""Adapters: make a student tensor comparable with the teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import resize_to
from mmkd.utils import log_warning, one_of

ADAPTERS = ('auto', 'conv', 'regressor')


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization that survives a single value in a channel, which has no deviation.

    Such a batch is normalized by the running statistics, with one warning; torch raises an error.
    """

    _said = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized map (N, C, H, W)."""
        if not self.training or x[:, :1].numel() > 1:
            return super().forward(x)
        if not self._said:
            self._said = True
            log_warning(
                'BatchNorm of an adapter: a batch has a single value in a channel, so the running '
                'statistics are used; larger batches or maps train it'
            )
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class Adapter(nn.Module):
    """Match a student map to a teacher map.

    Convolutions have PyTorch's initial weights. What is not of the teacher's size behind them is
    interpolated bilinearly. The adapter is not part of the exported student.

    Args:
        student_channels: Channels of the student's map.
        teacher_channels: Channels of the teacher's map.
        kind: ``'auto'`` is a 1×1 convolution where the channels differ and nothing otherwise, as in
            the code of FGD and MGD; ``'conv'`` is always a 1×1 convolution, as in that of MasKD and
            CIRKD's FitNet; ``'regressor'`` is mdistiller's: a convolution, batch normalization and
            a ReLU. Defaults to ``'auto'``.
        ratio: Size of the student's map by the teacher's. A regressor's convolution is 3×3 with
            stride 2 at 2, a transposed 4×4 one at 0.5, else 1×1. Defaults to 1.0.

    Source of ``'regressor'``: ``ConvReg`` of megvii-research/mdistiller@a08d46f.
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, kind: str = 'auto', ratio: float = 1.0
    ) -> None:
        super().__init__()
        channels = student_channels, teacher_channels
        self.project: nn.Module = nn.Identity()
        if one_of(ADAPTERS, adapter=kind) == 'regressor':
            conv: nn.Module = nn.Conv2d(*channels, 1)
            if ratio == 2:
                conv = nn.Conv2d(*channels, 3, stride=2, padding=1)
            elif ratio == 0.5:
                conv = nn.ConvTranspose2d(*channels, 4, stride=2, padding=1)
            self.project = nn.Sequential(conv, BatchNorm(teacher_channels), nn.ReLU(True))
        elif kind == 'conv' or student_channels != teacher_channels:
            self.project = nn.Conv2d(*channels, 1)

    def forward(self, student: Tensor, size: tuple[int, int]) -> Tensor:
        """Return a student's map (N, C_student, H, W) as (N, C_teacher, *size)."""
        return resize_to(self.project(student), size)
