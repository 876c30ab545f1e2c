"""Checks of the training data: errors that name the file, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmkd.datasets.indexed import innermost
from mmkd.utils import ConfigError, box_tensor, find_head

KEY = 'train_dataloader.dataset'
EMPTY = (
    'contains no image: check its folders and suffixes, filter_cfg, and that the class names of '
    'metainfo match the annotations'
)


class DataError(ConfigError):
    """A file of the training data is unusable; the message names it and its fault."""

    def __init__(self, message: str) -> None:
        # An error of a worker process carries its traceback; the last line has the message.
        super().__init__(KEY, message.strip().splitlines()[-1].rpartition(f'{KEY}: ')[2])


class NamingPipeline:
    """A data set's pipeline whose errors name the files of the sample; it keeps its attributes."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __call__(self, data: dict[str, Any]) -> Any:
        """Run the pipeline.

        Raises:
            DataError: It failed.
        """
        files = [str(data[name]) for name in ('img_path', 'seg_map_path') if data.get(name)]
        files = files or [f'sample {data.get("sample_idx", "?")}']
        try:
            return self.pipeline(data)
        except Exception as error:
            reason = (str(error).strip() or 'no message').splitlines()[0]
            raise DataError(
                f'{", ".join(files)}: cannot be read: {type(error).__name__}: {reason}'
            ) from error

    def __getattr__(self, name: str) -> Any:
        if name == 'pipeline' or name.startswith('__'):  # not set yet in a spawned worker
            raise AttributeError(name)
        return getattr(self.pipeline, name)


def name_files(dataset: Any) -> None:
    """Make read errors of a data set, or of those inside it, name the files.

    Raises:
        ConfigError: It contains no image.
    """
    if len(dataset) == 0:
        raise ConfigError(KEY, EMPTY)
    for leaf in innermost(dataset):
        pipeline = getattr(leaf, 'pipeline', None)
        if callable(pipeline) and not isinstance(pipeline, NamingPipeline):
            leaf.pipeline = NamingPipeline(pipeline)


def check_batch(batch: Any, student: nn.Module) -> None:
    """Check a batch of the data loader, on the CPU, before the student gets it.

    Args:
        batch: ``inputs``, images (3, H, W) or a batch (N, 3, H, W), and ``data_samples``; anything
            else is not checked.
        student: The student, whose head has the number of classes.

    Raises:
        DataError: An image is empty or not finite, a box is not finite, a label map and its image
            differ in size, or a label is out of range.
    """
    if not isinstance(batch, Mapping) or 'inputs' not in batch:
        return
    samples = batch.get('data_samples') or [None] * len(batch['inputs'])
    head = find_head(student)
    for image, sample in zip(batch['inputs'], samples):
        if isinstance(image, Tensor):
            if image.numel() == 0:
                raise DataError(f'{file_of(sample)}: the image is empty: {tuple(image.shape)}')
            if image.is_floating_point() and not image.isfinite().all():
                raise DataError(f'{file_of(sample)}: pixels are NaN or infinite')
            pixels = getattr(sample, 'gt_sem_seg', None)
            if pixels is not None and pixels.shape != image.shape[-2:]:
                sizes = ['{} × {}'.format(*shape) for shape in (pixels.shape, image.shape[-2:])]
                raise DataError(
                    f'{file_of(sample, "seg_map_path")}: the label map is {sizes[0]} and the '
                    f'image {sizes[1]}'
                )
        if sample is not None and head is not None:
            check_labels(sample, *head)


def check_labels(sample: Any, path: str, head: Any) -> None:
    """Compare the labels of one sample with the classes of the head at ``path``."""
    file = 'img_path'
    if (instances := getattr(sample, 'gt_instances', None)) is not None and 'labels' in instances:
        labels = instances.labels
        boxes = box_tensor(getattr(instances, 'bboxes', None))
        if isinstance(boxes, Tensor) and not boxes.isfinite().all():
            raise DataError(f'{file_of(sample)}: boxes are NaN or infinite')
    elif (pixels := getattr(sample, 'gt_sem_seg', None)) is not None:
        file, labels = 'seg_map_path', pixels.data
        labels = labels[labels != getattr(head, 'ignore_index', 255)]
    else:
        labels = getattr(sample, 'gt_label', None)
    if not isinstance(labels, Tensor) or not labels.numel():
        return
    low, high, classes = int(labels.min()), int(labels.max()), head.num_classes
    if low < 0 or high >= classes:
        raise DataError(
            f'{file_of(sample, file)}: label {low if low < 0 else high} is out of range: '
            f'model.{path}.num_classes={classes} allows 0 to {classes - 1}'
        )


def file_of(sample: Any, name: str = 'img_path') -> str:
    """Return the file of a sample, or its number."""
    info = getattr(sample, 'metainfo', {})
    number = f'sample {info.get("sample_idx", "?")}'
    return str(info.get(name) or info.get('img_path') or number)
