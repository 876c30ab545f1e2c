"""Checkpoints that survive kills, full disks and signals."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop

from mmkd.engine.resume import (
    BACKEND,
    choose_checkpoint,
    gather_random_states,
    random_state,
    rest_of_epoch,
    set_random_state,
    shield_workers,
)
from mmkd.registry import HOOKS
from mmkd.utils import ConfigError, Interrupted, config_key, integer

ENTRY = 'random_states'
INTERRUPTED = 'interrupted.pth'


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook for runs that last days. ``tools/train.py`` uses it by default.

    - Files are written atomically. An old checkpoint is removed after the new one is on disk.
    - ``--resume`` uses the newest intact checkpoint and warns if that is not the last one.
    - SIGTERM ends the run after the current iteration (with accumulated gradients, after the next
      update) with a checkpoint, ``interrupted.pth``, and exit code 143. A second SIGTERM ends it
      at once. With several ranks, they synchronize every ``stop_check`` iterations.
    - Every checkpoint inside an epoch holds its place there: the resumed run trains on the rest of
      that epoch. No checkpoint holds accumulated gradients: one that is due waits for the update.
    - The checkpoint's entry ``random_states`` holds the states of the global generators of every
      rank; they are restored on resume, and validation leaves them unchanged. The states of
      data-loading workers are not saved: mmengine seeds them when they start.

    Args:
        stop_check: Interval in iterations at which several ranks agree whether to stop. Defaults
            to 10.
        **kwargs: See mmengine's CheckpointHook.
    """

    backend_args: dict[str, Any] | None
    max_keep_ckpts: int
    keep_ckpt_ids: deque[int]
    best_ckpt_path: str | None

    def __init__(self, stop_check: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with config_key('default_hooks.checkpoint'):
            self.stop_check = integer(1, stop_check=stop_check)
        self._restore: dict[str, Any] | None = None  # random state of this rank
        self._position: tuple[int, int] | None = None  # iterations done in an epoch, its length
        self._skipped = 0  # iterations of this epoch that are left out
        self._full_loader: Any = None  # replaced for the rest of an epoch
        self._quiet_loader: Any = None  # must not draw from the global generator
        self._before_val: dict[str, Any] | None = None  # random state
        self._signaled = False  # this process has received SIGTERM
        self._stopping = False  # all ranks know
        self._handler: Any = None  # of SIGTERM, before this hook
        self._saved = -1  # iteration of the last checkpoint
        self._done = 0  # iterations of this epoch
        self._late = False  # a checkpoint waits for the next update
        self._states: list[dict[str, Any]] | None = None  # for the file that is being written

    def before_run(self, runner: Any) -> None:
        """Choose the checkpoint to resume from.

        Raises:
            ConfigError: The given checkpoint, or every checkpoint, is damaged.
        """
        if not runner._resume:
            return
        runner._load_from = choose_checkpoint(runner, self.out_dir)
        runner._resume = runner._load_from is not None

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Read the random state and the position from the checkpoint."""
        states = checkpoint.pop(ENTRY, None)
        if runner._resume:
            if states and len(states) == get_world_size():
                self._restore = states[get_rank()]
            self._position = checkpoint['meta'].get('place_in_epoch')

    def before_train(self, runner: Any) -> None:
        """Select the backend for local files and handle SIGTERM."""
        unset = self.backend_args is None and self.file_client_args is None
        folder = self.out_dir or runner.work_dir
        if unset and isinstance(get_file_backend(folder), LocalBackend):
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        shield_workers(False)

    def _on_sigterm(self, *_: Any) -> None:
        self._signaled = True
        self._reset_handler()

    def _reset_handler(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None

    def before_train_epoch(self, runner: Any) -> None:
        """Restore the position in an interrupted epoch and the random state."""
        restore, self._restore = self._restore, None
        position, self._position = self._position, None
        loop = runner.train_loop
        if not isinstance(loop, EpochBasedTrainLoop):
            if restore is not None:
                # The loader drew its seed when the run began; it must not draw another one.
                self._quiet_loader = loop.dataloader
                self._quiet_loader.generator = torch.Generator()
        elif position is not None and position[1] == len(loop.dataloader):
            self._skipped = position[0]
            self._full_loader = loop.dataloader
            loop.dataloader = rest_of_epoch(loop.dataloader, self._skipped)
            runner.logger.info(f'epoch {runner.epoch + 1} resumes after {self._skipped} iterations')
        elif position is not None:
            runner.logger.warning(
                f'the interrupted epoch had {position[1]} iterations and now has '
                f'{len(loop.dataloader)}; it starts anew'
            )
        if restore is not None:
            set_random_state(restore)
        shield_workers(True)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Release what only the start of the workers needed."""
        shield_workers(False)
        if self._quiet_loader is not None:
            self._quiet_loader.generator = None
            self._quiet_loader = None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save if due; stop after SIGTERM."""
        self._done = self._skipped + batch_idx + 1
        wrapper = runner.optim_wrapper
        accumulating = isinstance(wrapper, OptimWrapper) and not wrapper.should_update()
        if not accumulating:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
            if self._late and self._saved != runner.iter + 1:
                self._save_checkpoint(runner)
        due = self.every_n_train_iters(runner, self.interval, self.save_begin)
        self._late = accumulating and not self.by_epoch and (self._late or due)
        if get_world_size() == 1:
            self._stopping = self._signaled
        elif self.every_n_train_iters(runner, self.stop_check) and not self._stopping:
            signaled = torch.tensor(float(self._signaled))
            all_reduce(signaled, 'max')
            self._stopping = bool(signaled)
        if not self._stopping or accumulating:
            return
        if self._saved != runner.iter + 1:
            self._save_interrupted(runner)
        self._stop(runner)

    def _save_interrupted(self, runner: Any) -> None:
        with self._writing():
            runner.save_checkpoint(
                self.out_dir,
                INTERRUPTED,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=dict(epoch=runner.epoch, iter=runner.iter + 1),
                by_epoch=False,
                backend_args=self.backend_args,
                **self.args,
            )
        if is_main_process():
            path = self.file_backend.join_path(self.out_dir, INTERRUPTED)
            (Path(runner.work_dir) / 'last_checkpoint').write_text(path)

    def _stop(self, runner: Any) -> None:
        self._reset_handler()
        runner.logger.warning(
            'stopped by SIGTERM; everything is saved, continue with --resume (or resume=True)'
        )
        raise Interrupted

    def after_train_epoch(self, runner: Any) -> None:
        """Return to full epochs; save if due."""
        shield_workers(False)
        if self._full_loader is not None:
            runner.train_loop.dataloader, self._full_loader = self._full_loader, None
            self._skipped = 0
        self._done = 0
        super().after_train_epoch(runner)

    def before_val_epoch(self, runner: Any) -> None:
        """Keep the random state: validation draws random numbers, too."""
        self._before_val = random_state()
        shield_workers(True)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Receive signals again."""
        shield_workers(False)

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop during validation if the training before it is saved."""
        if self._signaled and get_world_size() == 1 and self._saved == runner.iter:
            self._stop(runner)

    def after_val_epoch(self, runner: Any, metrics: Any) -> None:
        """Restore the random state; save the best checkpoint."""
        shield_workers(False)
        if self._before_val is not None:
            set_random_state(self._before_val)
        super().after_val_epoch(runner, metrics)

    def after_train(self, runner: Any) -> None:
        """Remove the interruption's checkpoint: the run is complete."""
        self._reset_handler()
        super().after_train(runner)
        self._remove(self.file_backend.join_path(self.out_dir, INTERRUPTED))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the random states, and the place inside an epoch."""
        if self._states is not None:
            checkpoint[ENTRY] = self._states
        if self._done and isinstance(runner.train_loop, EpochBasedTrainLoop):
            checkpoint['meta']['place_in_epoch'] = (self._done, len(runner.train_dataloader))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Checkpoints written inside get the random states of all ranks.

        Raises:
            ConfigError: The file cannot be written.
        """
        self._states = gather_random_states()
        try:
            yield
        except OSError as error:
            raise ConfigError(
                'work_dir',
                f'cannot save a checkpoint to {self.out_dir}: {error}; existing checkpoints are '
                'intact: make room and continue with --resume',
            ) from error
        finally:
            self._states = None

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        """Save first, then remove the oldest checkpoint."""
        limit = self.max_keep_ckpts
        if limit > 0:
            self.max_keep_ckpts = limit + 1
            self.keep_ckpt_ids = deque(self.keep_ckpt_ids, limit + 1)
        try:
            with self._writing():
                super()._save_checkpoint_with_step(runner, step, meta)
        finally:
            self.max_keep_ckpts = limit
        self._saved = meta['iter']
        while limit > 0 and len(self.keep_ckpt_ids) > limit:
            old = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
            self._remove(self.file_backend.join_path(self.out_dir, old))
        if limit > 0:
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def _save_best_checkpoint(self, runner: Any, metrics: Any) -> None:
        """Save first, then remove the previous best checkpoint."""
        if not self.save_best or len(self.key_indicators) > 1:
            super()._save_best_checkpoint(runner, metrics)
            return
        before, self.best_ckpt_path = self.best_ckpt_path, None
        super()._save_best_checkpoint(runner, metrics)
        if self.best_ckpt_path is None:
            self.best_ckpt_path = before
        elif before and before != self.best_ckpt_path:
            self._remove(before)

    def _remove(self, path: str) -> None:
        if not is_main_process():
            return
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # sharded
            self.file_backend.rmtree(path)
