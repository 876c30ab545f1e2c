"""The one hook that a distillation config names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.utils import apply_to

from mmkd.engine.data_check import check_batch, name_files
from mmkd.engine.visualization import Observer, draw_sheet
from mmkd.models.distiller import Distiller
from mmkd.models.first_step import HIGH, FirstStep
from mmkd.registry import HOOKS
from mmkd.utils import ConfigError, config_key, unwrap

ENTRY = 'distiller'
ANEW = 'one would not continue it: load_from=CHECKPOINT instead of resume starts from its weights'
# The ratios of gradients are measured so often in a run, and not more often than this.
PARTS, SHORTEST = 20, 20


@HOOKS.register_module()
class DistillHook(Hook):
    """Report the first step, save adapters and method state, check the data, and visualize.

    The report is repeated after 5 % of the run, and written to ``first_step.txt`` and ``.json`` in
    the work directory. Ratios of losses and gradients to the task's are logged twenty times in a
    run.

    With ``model.distill.on_nonfinite='skip_step'`` it also skips the optimizer update of skipped
    steps.

    The state of the methods (adapters, queues) is saved as the checkpoint's top-level entry
    ``distiller``, beside the plain ``state_dict`` of the student, and is read only on resume.
    Without distillation (``model.distill=None``) the hook does nothing.

    Args:
        vis_interval: Interval in iterations at which the main process passes to the Runner's
            visualizer: the methods' masks over the student's images, the differences of the
            compared feature maps, and the area of every mask. Defaults to 0, never.
        vis_images: Number of images of a batch to draw. Defaults to 1.
    """

    priority = 'NORMAL'

    def __init__(self, vis_interval: int = 0, vis_images: int = 1) -> None:
        self.vis_interval = vis_interval
        self.vis_images = vis_images
        self._reports: list[dict[str, Any]] = []

    def before_run(self, runner: Any) -> None:
        """Request the report of the first step; runs before weights are initialized.

        Raises:
            ConfigError: The training data contain no image.
        """
        if (distiller := distiller_of(runner)) is not None:
            distiller.first_step = FirstStep()
            distiller.hooked = True
            self._reports = []
            name_files(runner.train_dataloader.dataset)

    def before_train_epoch(self, runner: Any) -> None:
        """Give the methods access to the training data."""
        if (distiller := distiller_of(runner)) is not None:
            for name, method in distiller.methods.items():
                with config_key(f'model.distill.methods.{name}'):
                    method.before_epoch(unwrap(runner.model), runner.train_dataloader)

    def before_train(self, runner: Any) -> None:
        """Skip the optimizer update for skipped steps.

        Raises:
            ConfigError: Steps may be skipped, and there are several optimizers.
        """
        distiller = distiller_of(runner)
        if distiller is not None and runner.cfg.get('compile'):
            runner.logger.warning(
                'compile: distillation steps are not compiled; teachers can be, with '
                'model.distill.teacher.compile=True'
            )
        if distiller is None or distiller.guard.policy != 'skip_step':
            return
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            key = 'model.distill.on_nonfinite'
            raise ConfigError(key, "'skip_step' needs a single optim_wrapper")

        def skip_update(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            if distiller.guard.pending_updates >= wrapper._accumulative_counts:
                # Without gradients an optimizer changes neither parameters nor its own state.
                optimizer.zero_grad(set_to_none=True)

        wrapper.optimizer.register_step_pre_hook(skip_update)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Validate the batch; record this step if visualization is due.

        Raises:
            DataError: Images or labels are unusable.
        """
        if (distiller := distiller_of(runner)) is None:
            return
        check_batch(data_batch, unwrap(runner.model))
        interval = max(round(runner.max_iters / PARTS), SHORTEST)
        if self.every_n_train_iters(runner, interval) and distiller.first_step is None:
            distiller.first_step = FirstStep(HIGH)
        if self.every_n_train_iters(runner, self.vis_interval) and is_main_process():
            distiller.recorder = Observer(unwrap(runner.model).data_preprocessor)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Report the first step with an active method and a later one; visualize recorded steps."""
        if (distiller := distiller_of(runner)) is None:
            return
        if distiller.guard.pending_updates and runner.optim_wrapper.should_update():
            distiller.guard.pending_updates = 0
        if distiller.first_step is not None and distiller.first_step.done:
            if is_main_process():
                self.report(runner, distiller, distiller.first_step)
            distiller.first_step = None
        if isinstance(distiller.recorder, Observer):
            self.draw(runner, distiller.recorder)
            distiller.recorder = None

    def report(self, runner: Any, distiller: Distiller, observed: FirstStep) -> None:
        """Log the ratios of a step; write and print the report of the first two."""
        step = runner.iter + 1
        runner.visualizer.add_scalars(observed.scalars(), step)
        if len(self._reports) == 2:
            return
        title = f'Distillation step {step}' if self._reports else 'First distillation step'
        text = observed.report(distiller.teachers, title)
        runner.logger.info('\n' + text)
        self._reports.append(dict(step=step, **observed.as_dict()))
        mode = 'a' if len(self._reports) > 1 else 'w'
        with open(Path(runner.work_dir, 'first_step.txt'), mode) as file:
            file.write(text + '\n\n')
        dump(self._reports, Path(runner.work_dir, 'first_step.json'), indent=1)

    def draw(self, runner: Any, observer: Observer) -> None:
        """Pass the images and mask areas of a step to the visualizer."""
        step = runner.iter + 1
        for name, record in observer.seen.items():
            for index in range(min(self.vis_images, len(record.images))):
                sheet = draw_sheet(record, index)
                runner.visualizer.add_image(f'distill_{name}_image{index}', sheet, step)
            areas = {f'distill.{name}.{key}': value for key, value in record.areas().items()}
            if areas:
                runner.visualizer.add_scalars(areas, step)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the distiller's own entry."""
        if (distiller := distiller_of(runner)) is not None:
            distiller.guard.flush()  # no checkpoint holds weights of a non-finite step
            checkpoint[ENTRY] = apply_to(  # includes tensors in a learner's extra state
                dict(distiller.state_dict()),
                lambda value: isinstance(value, torch.Tensor),
                lambda value: value.detach().cpu(),
            )

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the distiller on resume.

        Raises:
            ConfigError: The checkpoint has no state of the methods, or that of other methods.
        """
        if not runner._resume:
            return
        distiller, state = distiller_of(runner), checkpoint.get(ENTRY)
        if distiller is None:
            if state:
                raise ConfigError('resume', f'the run of the checkpoint distilled, this {ANEW}')
            return
        if state is None:
            if distiller.state_dict():
                raise ConfigError(
                    'resume',
                    f'the checkpoint has no {ENTRY!r} entry: its run had no distillation or no '
                    f'DistillHook, and this {ANEW}',
                )
            return
        try:
            distiller.load_state_dict(state)
        except RuntimeError as error:
            own = distiller.state_dict()
            raise ConfigError(
                'resume',
                f'the {ENTRY!r} entry of the checkpoint does not match model.distill.methods '
                f'(it has {parts_of(state)}, the config {parts_of(own)}), and this {ANEW}',
            ) from error


def parts_of(state: dict[str, Any]) -> str:
    """Return the methods that have entries in a distiller's state dict, with their numbers."""
    counts = Counter('.'.join(name.split('.')[:2]) for name in state)
    return ', '.join(f'{count} of {name}' for name, count in counts.items()) or 'none'


def distiller_of(runner: Any) -> Distiller | None:
    """Return the distiller of the runner's model, or None for a plain student."""
    return getattr(unwrap(runner.model), 'distiller', None)
