"""PKD: distillation by the Pearson correlation of the channels."""

from __future__ import annotations

from typing import Any

from mmkd.methods.feature_mimic import FeatureMimic
from mmkd.registry import MODELS


@MODELS.register_module()
class PKD(FeatureMimic):
    """Standardize both maps per channel and halve their mean squared difference.

    ``L = Σ_l ½ mean (std(φ_l(F_s^l)) - std(F_t^l))²`` with the sample deviation: one minus the
    Pearson correlation of the channels, times (n - 1)/n for n = N·H·W. It is
    ``FeatureMimic(normalize='channel')`` under the paper's name and with its weight.

    Source: Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson
    Correlation Coefficient", NeurIPS 2022, eq. 4-5; ``PKDLoss`` of open-mmlab/mmrazor@90c7af1.

    Args:
        student: Tap of L maps (N, C_student, H, W).
        teacher: Tap of L maps (N, C_teacher, H, W).
        weight: See :class:`~mmkd.methods.base.Method`. Defaults to 6.0.
        interior_only: See :class:`~mmkd.methods.feature_mimic.FeatureMimic`. Defaults to 0.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: a 1×1 convolution where the channels differ; the official loss requires equal ones.
    A map of one value has loss 0, officially NaN.
    """

    def __init__(
        self, student: Any, teacher: Any, weight: Any = 6.0, interior_only: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(student, teacher, 'channel', interior_only, weight=weight, **kwargs)
