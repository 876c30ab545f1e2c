"""Data that cannot be trained on: one line that names the file, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from mmkd.utils import ConfigError

KEY = 'train_dataloader.dataset'
EMPTY = (
    'there is no image in it: look at its folders and suffixes, at filter_cfg, and whether the '
    'class names of metainfo are those of the annotations'
)
# Where the three packages keep the head that predicts classes.
HEADS = ('head', 'decode_head', 'bbox_head', 'roi_head.bbox_head')


class DataError(ConfigError):
    """A file of the training data cannot be used.

    Args:
        message: The file, and what is wrong with it, in one line.
    """

    def __init__(self, message: str) -> None:
        # A worker's error comes back with its traceback in the message: the last line says it all.
        super().__init__(KEY, message.strip().splitlines()[-1].rpartition(f'{KEY}: ')[2])


class NamingPipeline:
    """A data set's pipeline whose errors name the files of the sample.

    Args:
        pipeline: The pipeline; its attributes stay within reach.
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __call__(self, data: dict[str, Any]) -> Any:
        """Run the pipeline.

        Raises:
            DataError: It failed; the error names the files.
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
        if name == 'pipeline' or name.startswith('__'):  # not there yet in a spawned worker
            raise AttributeError(name)
        return getattr(self.pipeline, name)


def name_files(dataset: Any) -> None:
    """Let a data set, or those inside it, name the files that cannot be read.

    Raises:
        ConfigError: There is no image in it.
    """
    if len(dataset) == 0:
        raise ConfigError(KEY, EMPTY)
    for leaf in leaves_of(dataset):
        pipeline = getattr(leaf, 'pipeline', None)
        if callable(pipeline) and not isinstance(pipeline, NamingPipeline):
            leaf.pipeline = NamingPipeline(pipeline)


def leaves_of(dataset: Any) -> Iterator[Any]:
    """Yield the innermost data sets."""
    inside = getattr(dataset, 'datasets', None) or []
    if hasattr(dataset, 'dataset'):
        inside = [dataset.dataset]
    for part in inside:
        yield from leaves_of(part)
    if not inside:
        yield dataset


def check_batch(batch: Any, student: nn.Module) -> None:
    """Look at a batch of the data loader, on the CPU, before the student sees it.

    Args:
        batch: ``inputs``, images (3, H, W) or a batch (N, 3, H, W), and ``data_samples``; anything
            else is not looked at.
        student: The student, whose head says how many classes there are.

    Raises:
        DataError: An image is empty or not finite, a box is not finite, a label map has another
            size than its image, or a class is not one of the head's.
    """
    if not isinstance(batch, Mapping) or 'inputs' not in batch:
        return
    samples = batch.get('data_samples') or [None] * len(batch['inputs'])
    head = head_of(student)
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


def check_labels(sample: Any, key: str, head: Any) -> None:
    """Compare the labels of one sample with the classes of a head."""
    file = 'img_path'
    if (instances := getattr(sample, 'gt_instances', None)) is not None and 'labels' in instances:
        labels = instances.labels
        boxes = getattr(instances, 'bboxes', None)
        boxes = getattr(boxes, 'tensor', boxes)
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
            f'{file_of(sample, file)}: class {low if low < 0 else high} is labelled, and '
            f'{key}.num_classes={classes} knows 0 to {classes - 1}'
        )


def head_of(student: nn.Module) -> tuple[str, Any] | None:
    """Return the head that predicts classes and its config key, or None."""
    for path in HEADS:
        head: Any = student
        for name in path.split('.'):
            head = getattr(head, name, None)
        if isinstance(head, nn.ModuleList):  # a cascade
            head = head[-1]
        if isinstance(getattr(head, 'num_classes', None), int):
            return f'model.{path}', head
    return None


def file_of(sample: Any, name: str = 'img_path') -> str:
    """Return the file of a sample, or its number."""
    info = getattr(sample, 'metainfo', {})
    number = f'sample {info.get("sample_idx", "?")}'
    return str(info.get(name) or info.get('img_path') or number)
