"""The model of a runner, the head that predicts classes, and auxiliary heads."""

from __future__ import annotations

import inspect
from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn

# Where mmdet, mmseg and mmpretrain keep the head.
HEADS = ('head', 'decode_head', 'bbox_head', 'roi_head.bbox_head')


def unwrap(model: nn.Module) -> nn.Module:
    """Return a model without its wrapper, such as DDP."""
    return model.module if is_model_wrapper(model) else model


def find_head(model: nn.Module) -> tuple[str, Any] | None:
    """Return the path and the head that predicts classes (the last one of a cascade), or None."""
    for path in HEADS:
        head: Any = model
        for name in path.split('.'):
            head = getattr(head, name, None)
        if isinstance(head, nn.ModuleList):  # a cascade
            head = head[-1]
        if isinstance(getattr(head, 'num_classes', None), int):
            return path, head
    return None


def count_classes(model: Any) -> int | None:
    """Return the number of classes K of a model's head, or None."""
    found = find_head(model)
    return found[1].num_classes if found else None


def run_heads(model: nn.Module, inputs: Any, data_samples: Any, auxiliary: bool = True) -> Any:
    """Run a model to the outputs of its heads.

    Args:
        model: The model.
        inputs: Batch (N, C, H, W).
        data_samples: N data samples.
        auxiliary: Call the auxiliary heads of a segmenter as well, which mmseg calls for the loss
            only. Defaults to True.
    """
    found: Any = getattr(model, 'auxiliary_head', None)
    if found is None or not auxiliary:
        return run_model(model, inputs, data_samples)
    heads = found if isinstance(found, nn.ModuleList) else [found]

    def call(module: nn.Module, args: Any, features: Any) -> None:
        for head in heads:
            head(features)

    last: Any = model.neck if getattr(model, 'with_neck', False) else model.backbone
    handle = last.register_forward_hook(call)
    try:
        return run_model(model, inputs, data_samples)
    finally:
        handle.remove()


def run_model(model: nn.Module, inputs: Any, data_samples: Any) -> Any:
    """Return ``model(…, mode='tensor')``.

    Some heads take the data samples, such as Mask2Former's; mmseg does not pass them on. As mmseg
    does for its loss, the samples get the shape of the batch, which MaskFormer's head reads.
    """
    head = getattr(model, 'decode_head', None)
    if head is not None and 'batch_data_samples' in inspect.signature(head.forward).parameters:
        for sample in data_samples:
            sample.set_metainfo(dict(batch_input_shape=tuple(inputs.shape[2:])))
        return head(model.extract_feat(inputs), data_samples)
    return model(inputs, data_samples, mode='tensor')
