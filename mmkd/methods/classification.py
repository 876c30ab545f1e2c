"""What the methods on class scores share: labels, checks of their taps, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.methods.base import Method, Taps, Tensors
from mmkd.registry import find_task
from mmkd.utils import ConfigError, ensure, single_labels
from mmkd.view import View


def class_labels(data_samples: Any, num_classes: int, like: Tensor, soft: bool = True) -> Tensor:
    """Return the label distributions of N images.

    Args:
        data_samples: N data samples with ``gt_label`` or, of mixed images, ``gt_score``.
        num_classes: Number of classes K.
        like: A tensor with the device and type of the result.
        soft: Prefer ``gt_score``; otherwise an image of a mixed batch has its own label. Defaults
            to True.

    Returns:
        Distributions (N, K).

    Raises:
        ConfigError: The images have no single label.
    """
    if soft and data_samples and 'gt_score' in data_samples[0]:  # all or none, as in mmpretrain
        return torch.stack([sample.gt_score for sample in data_samples]).to(like)
    labels = single_labels(data_samples)
    if labels is None:
        raise ConfigError('train_dataloader.dataset', 'must yield images with one class label each')
    return F.one_hot(labels.to(like.device), num_classes).to(like)


def sample_indices(data_samples: Any) -> list[int]:
    """Return the indices of N images in their data set, or raise a ConfigError."""
    indices = [getattr(s, 'metainfo', {}).get('sample_idx') for s in data_samples or []]
    if not indices or None in indices:
        raise ConfigError(
            'train_dataloader.dataset.pipeline',
            "the method identifies images by the meta key 'sample_idx'; pack it, as mmpretrain's "
            'PackInputs does by default',
        )
    return [int(index) for index in indices if index is not None]


def check_names(taps: Taps, key: str, *names: str) -> None:
    """Raise a ConfigError unless the taps of a side are a dict with exactly these names."""
    if not isinstance(taps, dict) or set(taps) != set(names) or not all(taps.values()):
        raise ConfigError(key, f'must be dict({", ".join(f"{name}=…" for name in names)})')


def check_tap(tensors: Tensors, key: str, what: str, *ndims: int, channels: int = 1) -> Tensor:
    """Return the only tensor of a tap.

    Args:
        tensors: What the tap yields on the probe batch.
        key: Config key of the tap.
        what: What it must yield, for the error, such as ``'logits (N, K)'``.
        *ndims: Allowed numbers of dimensions.
        channels: Least size of dimension 1. Defaults to 1.

    Raises:
        ConfigError: It yields something else, or there are several taps.
    """
    found = tensors if isinstance(tensors, list) else []
    shapes = [tuple(t.shape) for t in found]
    if len(shapes) != 1 or len(shapes[0]) not in ndims or shapes[0][1] < channels:
        got = shapes or ('a dict of taps' if tensors else 'none')
        raise ConfigError(key, f'must be a tap of {what}, got {got}')
    return found[0]


def check_logits(student: Tensors, key: str = 'student', least: int = 2) -> int:
    """Return the number K of classes of a tap of image logits, which must be at least ``least``."""
    what = f'logits (N, K) of at least {least} classes, such as head.fc'
    return check_tap(student, key, what, 2, channels=least).shape[1]


def check_logit_pair(method: Method, student: Any, teacher: Any, least: int = 2) -> None:
    """Raise a ConfigError unless both taps yield one tensor of logits of the same K ≥ ``least``."""
    check_logits(student, least=least)
    method.check_pairs(student, teacher, ndim=2)
    check_channels(student, teacher)


def refuse_queries(model: nn.Module, student: Sequence[Tensor]) -> None:
    """Refuse the logits of queries or proposals, which differ between two models.

    Args:
        model: The student.
        student: Its logits on the probe batch.

    Raises:
        ConfigError: They belong to queries of a transformer or to proposals.
    """
    head = getattr(model, 'decode_head', None)
    queries = any(hasattr(part, 'num_queries') for part in (model, head))
    what = 'queries' if queries or any(t.ndim == 3 for t in student) else ''
    if not what and find_task(model) == 'det' and any(t.ndim == 2 for t in student):
        what = 'proposals'
    ensure(
        not what,
        'student',
        f'yields logits of {what}: those of student and teacher do not correspond, so they '
        "cannot be compared one by one; distill maps instead, such as mmkd.FeatureMimic of 'neck'",
    )


def check_channels(
    student: Sequence[Tensor], teacher: Sequence[Tensor], what: str = 'class channels'
) -> None:
    """Raise a ConfigError unless the tensors of both sides have equal sizes in dimension 1."""
    for s, t in zip(student, teacher):
        if s.shape[1] != t.shape[1]:
            raise ConfigError(
                'student',
                f'the student has {s.shape[1]} {what} and the teacher {t.shape[1]}; '
                'the method needs the same on both sides',
            )


def check_class_channels(student: Sequence[Tensor], num_classes: int | None) -> None:
    """Raise a ConfigError unless the maps (N, A·K, H, W) of a dense head hold whole anchors."""
    for s in student:
        if num_classes and s.shape[1] % num_classes:
            raise ConfigError(
                'num_classes', f'{s.shape[1]} channels are no multiple of {num_classes} classes'
            )


def refuse_regions(student: Sequence[Tensor], view: View) -> None:
    """Raise a ConfigError for the logits (R, K) of regions, which differ between the models."""
    for s in student:
        if s.ndim == 2 and len(s) != len(view.inputs):
            raise ConfigError(
                'student',
                f'yields {len(s)} rows of logits for {len(view.inputs)} images: these are scores '
                'of regions, which differ between teacher and student; tap a dense head, such as '
                'rpn_head.rpn_cls',
            )


def check_batch(fits: bool, rule: str, sampler: str) -> None:
    """Raise a ConfigError unless the batches follow the rule of a batch sampler of mmkd."""
    if not fits:
        key = 'train_dataloader.batch_sampler'
        raise ConfigError(key, f"{rule}; use dict(type='mmkd.{sampler}')")


def target_classes(view: View, logits: Tensor) -> Tensor:
    """Return the class (N,) of every image; of a mixed image that with the largest share."""
    return class_labels(view.data_samples, logits.shape[1], logits).argmax(1)


def simulated_logits(teacher: Tensor, view: View, tau: float = 1.0) -> Tensor:
    """Return a teacher's logits for the student's images.

    Where the teacher ran on the clean images, its distributions at the temperature are mixed by
    area, as :class:`~mmkd.methods.logit_kd.LogitKD` does, and turned back into logits.

    Args:
        teacher: Logits (N, K).
        view: What this step looks at.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Logits (N, K); ``teacher`` itself without mixing, or if it ran on the mixed images.
    """
    if not view.parts or view.teacher_on_mixed:
        return teacher
    probs = view.simulate((teacher / tau).softmax(1))
    return tau * probs.clamp(min=torch.finfo(probs.dtype).tiny).log()


def refuse_batch_augments(student: nn.Module, name: str) -> None:
    """Raise a ConfigError for mmpretrain's batch augmentations, which record no mixing."""
    preprocessor = getattr(student, 'data_preprocessor', None)
    if getattr(preprocessor, 'batch_augments', None) is not None:
        raise ConfigError(
            'model.train_cfg.augments',
            f'{name} needs to identify each image, and these augmentations do not record what '
            'they mix; set model.train_cfg=None',
        )
