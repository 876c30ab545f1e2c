"""The one hook that a distillation config names."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmkd.models.distiller import Distiller
from mmkd.models.first_step import FirstStep
from mmkd.registry import HOOKS

ENTRY = 'distiller'


@HOOKS.register_module()
class DistillHook(Hook):
    """Report the first step, and keep adapters and method state for resuming.

    What the methods own (adapters, queues) is saved as the checkpoint's top-level entry
    ``distiller``, beside the plain ``state_dict`` of the student, and is read on resume only.
    Without distillation (``model.distill=None``) the hook does nothing.
    """

    priority = 'NORMAL'

    def before_run(self, runner: Any) -> None:
        """Ask the distiller to observe its first step; runs before weights are initialised."""
        distiller = distiller_of(runner)
        if distiller is not None:
            distiller.first_step = FirstStep()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Log the report of the first step with an active method."""
        distiller = distiller_of(runner)
        if distiller is None or distiller.first_step is None or not distiller.first_step.done:
            return
        if is_main_process():
            runner.logger.info('\n' + distiller.first_step.report(distiller.teachers))
        distiller.first_step = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the distiller's own entry."""
        distiller = distiller_of(runner)
        if distiller is not None:
            state = distiller.state_dict()
            checkpoint[ENTRY] = {name: value.detach().cpu() for name, value in state.items()}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the distiller on resume.

        Raises:
            RuntimeError: The checkpoint was written without the methods' state, or for others.
        """
        distiller = distiller_of(runner)
        if distiller is None or not runner._resume:
            return
        state = checkpoint.get(ENTRY)
        if state is None:
            if distiller.state_dict():
                raise RuntimeError(
                    f'the checkpoint has no {ENTRY!r} entry, so the adapters cannot be resumed; '
                    'it was written by a run without distillation: use load_from instead of resume'
                )
            return
        try:
            distiller.load_state_dict(state)
        except RuntimeError as error:
            raise RuntimeError(
                f'the {ENTRY!r} entry of the checkpoint belongs to other methods than those of '
                f'model.distill.methods: {error}'
            ) from error


def distiller_of(runner: Any) -> Distiller | None:
    """Return the distiller of the runner's model, or None for a plain student."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return getattr(model, 'distiller', None)
