"""The kinds of dense heads whose parts can be used one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmkd.utils import ConfigError, did_you_mean


@dataclass(frozen=True)
class HeadFamily:
    """What CrossKD has to know of a kind of head, with the published settings.

    Every head has ``cls_convs`` and ``reg_convs``, lists of mmcv's ``ConvModule`` that all pyramid
    levels share, and perhaps one factor for each level in ``scales``.

    Args:
        cls: Name of the classifier.
        reg: Name of the box predictor.
        box: How boxes are compared: ``'distribution'`` (KL of the edges' distributions, as in
            GFL), ``'giou'``, or ``'iou'`` (its negative logarithm), of decoded boxes.
        centerness: Name of the centerness predictor behind ``reg_convs`` that is distilled.
            Defaults to None.
        start: Convs of the student in front of the teacher's. Defaults to 3.
        cls_weight: Weight of the classification term. Defaults to 1.0.
        reg_weight: Weight of the box term. Defaults to 1.0.
        centerness_weight: Weight of the centerness term. Defaults to 1.0.
    """

    cls: str
    reg: str
    box: str
    centerness: str | None = None
    start: int = 3
    cls_weight: float = 1.0
    reg_weight: float = 1.0
    centerness_weight: float = 1.0


FAMILIES = dict(
    gfl=HeadFamily('gfl_cls', 'gfl_reg', 'distribution', reg_weight=4.0),
    retina=HeadFamily('retina_cls', 'retina_reg', 'giou'),
    atss=HeadFamily('atss_cls', 'atss_reg', 'giou', centerness='atss_centerness'),
    fcos=HeadFamily('conv_cls', 'conv_reg', 'iou', start=2, cls_weight=0.4, reg_weight=0.75),
)
BOXES = ('distribution', 'giou', 'iou')


def family_of(head: Any, key: str) -> HeadFamily:
    """Return the kind of a head.

    Raises:
        ConfigError: It is unknown, or its arguments are.
    """
    if isinstance(head, Mapping):
        known = list(HeadFamily.__dataclass_fields__)
        for name in set(head) - set(known):
            raise ConfigError(f'{key}.{name}', f'no such key{did_you_mean(name, known)}')
        missing = [name for name in ('cls', 'reg', 'box') if name not in head]
        if missing:
            raise ConfigError(key, f'names {", ".join(missing)} of the head as well')
        if head['box'] not in BOXES:
            raise ConfigError(f'{key}.box', f'use one of {", ".join(BOXES)}')
        return HeadFamily(**head)
    if head not in FAMILIES:
        raise ConfigError(
            key, f'{head!r} is unknown: use {", ".join(FAMILIES)}, or a dict for another head'
        )
    return FAMILIES[head]
