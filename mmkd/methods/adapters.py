"""Adapters: make a student tensor comparable with the teacher's."""

from __future__ import annotations

from torch import Tensor, nn

from mmkd.functional import resize_to


class Adapter(nn.Module):
    """Match a student map to a teacher map.

    A 1×1 convolution only where the channels differ, with PyTorch's initial weights as in the code
    of FGD, MGD and MasKD; bilinear interpolation only where the sizes differ. It is not part of the
    exported student.

    Args:
        student_channels: Channels of the student's map.
        teacher_channels: Channels of the teacher's map.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.project: nn.Module = nn.Identity()
        if student_channels != teacher_channels:
            self.project = nn.Conv2d(student_channels, teacher_channels, 1)

    def forward(self, student: Tensor, size: tuple[int, int]) -> Tensor:
        """Return a student's map (N, C_student, H, W) as (N, C_teacher, *size)."""
        return resize_to(self.project(student), size)
