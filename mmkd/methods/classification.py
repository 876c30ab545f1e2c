"""What the methods for image classifiers share: labels, sample numbers, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.methods.base import Method
from mmkd.utils import ConfigError
from mmkd.view import View


def class_labels(data_samples: Any, num_classes: int, like: Tensor, soft: bool = True) -> Tensor:
    """Return the label distributions of N images.

    Args:
        data_samples: N data samples with ``gt_label`` or, of mixed images, ``gt_score``.
        num_classes: Number of classes K.
        like: A tensor of the device and the type that the result gets.
        soft: Prefer ``gt_score``. Without it an image of a mixed batch has its own label. Defaults
            to True.

    Returns:
        Distributions (N, K).

    Raises:
        ConfigError: The images have no single label.
    """
    samples = list(data_samples or [])
    if samples and soft and 'gt_score' in samples[0]:  # all or none, as in mmpretrain's own head
        return torch.stack([sample.gt_score for sample in samples]).to(like)
    if not samples or any('gt_label' not in s or s.gt_label.numel() != 1 for s in samples):
        raise ConfigError(
            'train_dataloader.dataset', 'the method needs images with one class label each'
        )
    labels = torch.cat([sample.gt_label.flatten() for sample in samples]).to(like.device)
    return F.one_hot(labels, num_classes).to(like)


def sample_indices(data_samples: Any) -> list[int]:
    """Return the numbers of N images in their data set.

    Raises:
        ConfigError: They have none.
    """
    numbers = [getattr(s, 'metainfo', {}).get('sample_idx') for s in data_samples or []]
    if not numbers or None in numbers:
        raise ConfigError(
            'train_dataloader.dataset.pipeline',
            "the method needs to know which image is which: pack the meta key 'sample_idx', which "
            "mmpretrain's PackInputs does by default",
        )
    return [int(number) for number in numbers if number is not None]


def check_logits(student: Any, key: str = 'student') -> int:
    """Check that a student's tap yields one tensor of image logits.

    Args:
        student: What the tap yields on the probe.
        key: Config key of the tap. Defaults to ``'student'``.

    Returns:
        Number of classes K.

    Raises:
        ConfigError: It yields something else.
    """
    shapes = [tuple(t.shape) for t in student]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] < 2:
        raise ConfigError(
            key,
            'must be a tap of logits (N, K) of at least two classes, such as head.fc, got '
            f'{shapes}',
        )
    return shapes[0][1]


def check_classes(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """Check that student and teacher tell the same number of classes apart.

    Args:
        student: Logits (N, K) or (N, K, H, W).
        teacher: As many.

    Raises:
        ConfigError: They do not.
    """
    for s, t in zip(student, teacher):
        if s.shape[1] != t.shape[1]:
            raise ConfigError(
                'student',
                f'the student has {s.shape[1]} class channels and the teacher {t.shape[1]}; '
                'logit distillation needs the same classes',
            )


def check_logit_pair(method: Method, student: Any, teacher: Any) -> int:
    """Check that both taps of a method yield one tensor of image logits of the same classes.

    Args:
        method: The method.
        student: What its student's tap yields on the probe.
        teacher: What its teacher's tap yields.

    Returns:
        Number of classes K.

    Raises:
        ConfigError: They yield something else.
    """
    classes = check_logits(student)
    method.check_pairs(student, teacher, ndim=2)
    check_classes(student, teacher)
    return classes


def refuse_regions(student: Sequence[Tensor], view: View) -> None:
    """Refuse the logits (R, K) of regions, which differ between the two models.

    Raises:
        ConfigError: There are not as many rows as images.
    """
    for s in student:
        if s.ndim == 2 and len(s) != len(view.inputs):
            raise ConfigError(
                'student',
                f'yields {len(s)} rows of logits for {len(view.inputs)} images: it classifies '
                'regions, and teacher and student look at different ones; tap a dense head, '
                'such as rpn_head.rpn_cls',
            )


def target_classes(view: View, logits: Tensor) -> Tensor:
    """Return the class (N,) of every image; of a mixed image that with the largest share.

    Args:
        view: What this step looks at.
        logits: Logits (N, K).

    Raises:
        ConfigError: The images have no single label.
    """
    return class_labels(view.data_samples, logits.shape[1], logits).argmax(1)


def simulated_logits(teacher: Tensor, view: View, tau: float = 1.0) -> Tensor:
    """Return a teacher's logits on what the student sees.

    Where the teacher has seen the clean images, its distributions at the temperature are mixed by
    area, as :class:`~mmkd.methods.logit_kd.LogitKD` does, and turned back into logits.

    Args:
        teacher: Logits (N, K).
        view: What this step looks at.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Logits (N, K); ``teacher`` itself without mixing, or if it has seen the mixed images.
    """
    if not view.parts or view.teacher_on_mixed:
        return teacher
    probs = view.simulate((teacher / tau).softmax(1))
    return tau * probs.clamp(min=torch.finfo(probs.dtype).tiny).log()


def refuse_batch_augments(student: nn.Module, name: str) -> None:
    """Refuse mmpretrain's own batch augmentations, which do not tell what they have mixed.

    Raises:
        ConfigError: The student's data preprocessor has some.
    """
    preprocessor = getattr(student, 'data_preprocessor', None)
    if getattr(preprocessor, 'batch_augments', None) is not None:
        raise ConfigError(
            'model.train_cfg.augments',
            f'{name} needs to identify each image, and these augmentations do not record what '
            'they mix; set model.train_cfg=None',
        )
