"""``Distilled``: a student that is extended in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import nn

from mmkd.models.distiller import ARGUMENTS, Distiller
from mmkd.models.teacher import KEY
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, check_names, config_key, isolated_rng


class DistilledMixin:
    """The two methods in which a distilled student differs from its own class."""

    distiller: Distiller

    def loss(self, inputs: Any, data_samples: Any) -> dict[str, Any]:
        """Return the student's own losses and the distillation losses.

        Args:
            inputs: Batch (N, 3, H, W).
            data_samples: N data samples.
        """
        return self.distiller.step(self, super().loss, inputs, data_samples)  # type: ignore

    def init_weights(self) -> None:
        """Initialize the student, then copy the parts that it inherits.

        The distiller is removed meanwhile: a recursive initialization must not reach its adapters,
        nor draw random numbers for them.
        """
        distiller = self._modules.pop('distiller')  # type: ignore[attr-defined]
        try:
            super().init_weights()  # type: ignore[misc]
        finally:
            self._modules['distiller'] = distiller  # type: ignore[attr-defined]
        distiller.inherit_weights(self)


@MODELS.register_module(name='Distilled')
def build_distilled(
    student: str, distill: Mapping[str, Any] | None = None, **config: Any
) -> nn.Module:
    """Build a student from its own config and extend it in place.

    Args:
        student: Type of the student, such as ``'RetinaNet'``: what ``model.type`` was before.
        distill: Arguments of :class:`~mmkd.models.distiller.Distiller`. Defaults to None, which
            gives the plain student.
        **config: The student's own config.

    Returns:
        The student. Its class is a subclass of its own that distills in ``loss()``; it has a child
        module ``distiller`` and otherwise the same parameters, the same state dict and the same
        predictions.

    Raises:
        ConfigError: A value in ``distill`` is invalid.
    """
    model = MMENGINE_MODELS.build(dict(type=student, **config))
    if distill is None:
        return model
    if not isinstance(distill, Mapping):
        raise ConfigError(KEY, f'must be a dict, or None for the plain student, got {distill!r}')
    with config_key(KEY):
        check_names(distill, ARGUMENTS)
    return distilled(model, **distill)


def distilled(model: nn.Module, **distill: Any) -> nn.Module:
    """Extend a built student in place; see :func:`build_distilled`.

    Raises:
        ConfigError: An argument is unknown or invalid, or the model has no ``loss``.
    """
    with config_key(KEY):
        check_names(distill, ARGUMENTS)
    if not hasattr(type(model), 'loss'):
        raise ConfigError(
            'model.student', f'{type(model).__name__} has no loss(inputs, data_samples) to extend'
        )
    with isolated_rng():
        model.distiller = Distiller(model, **distill)
    model.distiller._register_state_dict_hook(hide_entries)
    cls = type(model)
    model.__class__ = type(
        f'Distilled{cls.__name__}', (DistilledMixin, cls), {'__module__': cls.__module__}
    )
    return model


def plain(model: nn.Module) -> nn.Module:
    """Undo :func:`distilled` in place and return the student with its own class."""
    if isinstance(model, DistilledMixin):
        model.__class__ = type(model).__mro__[2]
        del model.distiller
    return model


def hide_entries(module: nn.Module, state_dict: Any, prefix: str, metadata: Any) -> None:
    """Remove the distiller's entries from the state dict of a model that contains it.

    A state-dict hook, because mmengine's own ``get_state_dict`` calls hooks and not overrides.
    """
    if not prefix:  # the distiller's own state dict, for resuming
        return
    for name in [k for k in state_dict if k.startswith(prefix)]:
        del state_dict[name]
    known = getattr(state_dict, '_metadata', {})
    for name in [k for k in known if k == prefix[:-1] or k.startswith(prefix)]:
        del known[name]
