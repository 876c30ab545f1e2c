"""The normalization that a teacher was trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Renormalizer:
    """Turn inputs that the student's data preprocessor made into the teacher's.

    Both preprocessors compute ``(image[channel order] - mean) / std`` and pad with a constant.

    Args:
        student: The student's data preprocessor.
        teacher: The teacher's.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        self.flip = reverses_channels(student) != reverses_channels(teacher)
        student_mean, student_std = statistics(student)
        teacher_mean, teacher_std = statistics(teacher)
        if self.flip:
            student_mean, student_std = student_mean.flip(0), student_std.flip(0)
        # (x * std_s + mean_s - mean_t) / std_t as one scale and one shift, (C, 1, 1)
        self.scale = (student_std / teacher_std).float()
        self.shift = ((student_mean - teacher_mean) / teacher_std).float()
        self.pad_value = pad_value_of(teacher)

    @classmethod
    def between(cls, student: nn.Module, teacher: nn.Module) -> Renormalizer | None:
        """Return a renormalizer, or None where both preprocessors agree."""
        made = cls(student, teacher)
        same = (
            not made.flip
            and made.pad_value == pad_value_of(student)
            and torch.allclose(made.scale, torch.ones_like(made.scale))
            and torch.allclose(made.shift, torch.zeros_like(made.shift), atol=1e-5)
        )
        return None if same else made

    def __call__(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        """Return the batch (N, C, H, W) as the teacher's preprocessor would have made it.

        Args:
            inputs: Normalized and padded batch of the student.
            data_samples: N samples whose ``img_shape`` separates content from padding. Without it
                everything counts as content.
        """
        if self.flip:
            inputs = inputs.flip(1)
        inputs = inputs * self.scale.to(inputs) + self.shift.to(inputs)
        height, width = inputs.shape[-2:]
        # By index: autograd refuses to change the views that iterating over a batch yields.
        for i, (h, w) in enumerate(content_sizes(data_samples, (height, width))):
            inputs[i, :, h:] = self.pad_value
            inputs[i, :, :, w:] = self.pad_value
        return inputs


def content_sizes(data_samples: Any, padded: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the (height, width) of each image inside its padded batch, where samples have it."""
    sizes = []
    for sample in data_samples or []:
        shape = getattr(sample, 'metainfo', {}).get('img_shape', padded)
        sizes.append((min(shape[0], padded[0]), min(shape[1], padded[1])))
    return sizes


def pad_value_of(preprocessor: nn.Module) -> float:
    """Return the value that a preprocessor pads normalized images with."""
    return float(getattr(preprocessor, 'pad_value', 0) or 0)


def reverses_channels(preprocessor: nn.Module) -> bool:
    """Whether a preprocessor turns BGR images into RGB (or the reverse)."""
    names = ('_channel_conversion', 'channel_conversion', 'to_rgb')
    return any(getattr(preprocessor, name, False) for name in names)


def statistics(preprocessor: nn.Module) -> tuple[Tensor, Tensor]:
    """Return mean and std (C, 1, 1) of a preprocessor; 0 and 1 where it does not normalize."""
    mean = getattr(preprocessor, 'mean', None)
    std = getattr(preprocessor, 'std', None)
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    return mean.detach().cpu().double(), std.detach().cpu().double()


def denormalize(inputs: Tensor, preprocessor: Any) -> np.ndarray:
    """Turn a preprocessed batch back into pictures.

    Args:
        inputs: Batch (N, C, H, W), C = 1 or 3.
        preprocessor: The data preprocessor that made it from BGR images.

    Returns:
        uint8 RGB, (N, H, W, 3).
    """
    mean, std = statistics(preprocessor)
    images = (inputs.detach().cpu().double() * std + mean)[:, : max(len(mean), 1)]
    if not reverses_channels(preprocessor):
        images = images.flip(1)
    images = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    return images.round().clamp(0, 255).to(torch.uint8).numpy()
