"""PatchMix-simulation distillation (PS-KD) as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmkd.methods.base import Method
from mmkd.methods.feature_mimic import FeatureMimic
from mmkd.methods.logit_kd import LogitKD
from mmkd.methods.plugins import build_part, part_losses
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, config_key
from mmkd.view import View

PARTS = dict(feature=FeatureMimic, logits=LogitKD)


@MODELS.register_module()
class PatchMixSimulationKD(Method):
    """Simulate the features and logits of a teacher trained with PatchMix from a vanilla one.

    The student sees a PatchMix image. On the same image, the receptive fields of a vanilla teacher
    would contain patch borders; so it runs on the clean images, and its feature maps are assembled
    patch by patch (:meth:`~mmkd.view.View.simulate`). With F_sim and p_sim:

    ``L = β Σ_l mean (φ_l(F_s^l(x̃)) - F_sim^l)² + α τ² KL(p_sim || p_s(x̃))``

    Use it with ``mixer=dict(type='mmkd.PatchMix', …)``; ``teacher_on_mixed=True`` in the mixer is
    the paper's ablation, which it advises against.

    Source: Xu et al., "PatchMix Simulation Knowledge Distillation", IEEE TCDS 2025 (abstract).

    Args:
        feature: Arguments of :class:`~mmkd.methods.feature_mimic.FeatureMimic`; its ``weight`` is
            β. Defaults to None, no feature term.
        logits: Arguments of :class:`~mmkd.methods.logit_kd.LogitKD`; its ``weight`` is α. Defaults
            to None, no logit term.
        weight: Weight (or schedule) of the whole. Defaults to 1.0.
        warmup_iters: Deprecated; use ``weight``. Defaults to None.
        every: Deprecated; use ``weight``. Defaults to None.

    Deviations: only the abstract of the paper was available; formulas, layers and weights are our
    reading of it. The dense form (boxes, label maps, pyramids) is ours.
    """

    simulate = False  # each part decides

    def __init__(
        self,
        feature: Mapping[str, Any] | None = None,
        logits: Mapping[str, Any] | None = None,
        weight: Any = 1.0,
        warmup_iters: int | None = None,
        every: int | None = None,
    ) -> None:
        super().__init__(weight=weight, warmup_iters=warmup_iters, every=every)
        self.parts = nn.ModuleDict()
        for name, config in dict(feature=feature, logits=logits).items():
            if config and 'type' in config:
                raise ConfigError(f'{name}.type', f'is always {PARTS[name].__name__}; leave it out')
            if config:
                self.parts[name] = build_part(dict(config, type=PARTS[name]), name)
        if not self.parts:
            raise ConfigError('', 'must have at least one of feature and logits')
        self.student_taps = {name: part.student_taps for name, part in self.parts.items()}
        self.teacher_taps = {name: part.teacher_taps for name, part in self.parts.items()}

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Build the parts."""
        for name, part in self.parts.items():
            with config_key(name):
                part.build(model, student[name], teacher[name], teachers)

    def compared(self, student: Any, teacher: Any, view: View) -> list[tuple[Tensor, Tensor]]:
        """Return what the parts compare."""
        return [
            pair
            for name, part in self.parts.items()
            for pair in part.compared(student[name], part.simulated(teacher[name], view), view)
        ]

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return the losses of the parts, with their own weights."""
        losses = {}
        for name, part in self.parts.items():
            losses.update(part_losses(part, name, student[name], teacher[name], view))
        return losses
