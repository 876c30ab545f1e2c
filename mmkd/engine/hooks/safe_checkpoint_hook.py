"""Checkpoints that survive kills, full disks and signals."""

from __future__ import annotations

import signal
import threading
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.optim import OptimWrapper

from mmkd.engine.continuing import random_states, shield_workers
from mmkd.engine.files import BACKEND, INTERRUPTED
from mmkd.engine.hooks.resuming_hook import ENTRY, ResumingHook
from mmkd.registry import HOOKS
from mmkd.utils import ConfigError, Interrupted


@HOOKS.register_module()
class SafeCheckpointHook(ResumingHook):
    """mmengine's CheckpointHook for runs that last days. ``tools/train.py`` takes it by itself.

    - A file is complete or not there: it is written beside its place and renamed. An older one is
      removed when the newer one is on the disk, not before.
    - ``--resume`` takes the last checkpoint that is whole, with a warning where that is not the
      last one.
    - SIGTERM ends the run after the current iteration (where gradients are accumulated, after the
      next update) with a checkpoint, ``interrupted.pth``, and exit code 143. A second SIGTERM ends
      it at once. Several ranks agree about it every ``stop_check`` iterations.
    - A run that goes on in the middle of an epoch has the rest of that epoch.
    - The states of the global generators of every rank are the checkpoint's entry
      ``random_states``, and are restored on resume; validation leaves them as they were. Those of
      workers that load data are not: mmengine seeds them when they start.

    Args:
        stop_check: Every so many iterations several ranks ask each other whether to stop. Defaults
            to 10.
        **kwargs: See mmengine's CheckpointHook.
    """

    def __init__(self, stop_check: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if stop_check < 1:
            raise ConfigError('default_hooks.checkpoint.stop_check', 'is at least 1')
        self.stop_check = stop_check
        self._asked = False  # whether this process has got a signal
        self._stopping = False  # whether all ranks know
        self._handler: Any = None
        self._saved = -1  # iteration after which the last checkpoint was written
        self._states: list[dict[str, Any]] | None = None  # that the next file gets

    def before_train(self, runner: Any) -> None:
        """Choose the backend for local files; listen to SIGTERM."""
        folder = self.out_dir or runner.work_dir
        free = self.backend_args is None and self.file_client_args is None
        if free and isinstance(get_file_backend(folder), LocalBackend):
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._ask)
        shield_workers(False)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        self._listen_no_more()

    def _listen_no_more(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save where it is due; stop where somebody asked for it."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if get_world_size() == 1:
            self._stopping = self._asked
        elif self.every_n_train_iters(runner, self.stop_check) and not self._stopping:
            asked = torch.tensor(float(self._asked))
            all_reduce(asked, 'max')
            self._stopping = bool(asked)
        if not self._stopping:
            return
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, OptimWrapper) and not wrapper.should_update():
            return  # gradients that are accumulated are in no checkpoint
        if self._saved != runner.iter + 1:
            self._save_interrupted(runner, self._done + batch_idx + 1)
        self._leave(runner)

    def _save_interrupted(self, runner: Any, done: int) -> None:
        meta = dict(epoch=runner.epoch, iter=runner.iter + 1)
        meta['place_in_epoch'] = (done, len(runner.train_dataloader))
        self._write(
            runner,
            lambda: runner.save_checkpoint(
                self.out_dir,
                INTERRUPTED,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=False,
                backend_args=self.backend_args,
                **self.args,
            ),
        )
        if is_main_process():
            path = self.file_backend.join_path(self.out_dir, INTERRUPTED)
            (Path(runner.work_dir) / 'last_checkpoint').write_text(path)

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop in the middle of a validation, where what was trained before it is saved."""
        if self._asked and get_world_size() == 1 and self._saved == runner.iter:
            self._leave(runner)

    def _leave(self, runner: Any) -> None:
        self._listen_no_more()
        runner.logger.warning(
            'stopped by SIGTERM; everything is saved, continue with --resume (or resume=True)'
        )
        raise Interrupted

    def after_train(self, runner: Any) -> None:
        """Remove the interruption of a run that is now finished."""
        self._listen_no_more()
        super().after_train(runner)
        path = self.file_backend.join_path(self.out_dir, INTERRUPTED)
        if is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)

    def _write(self, runner: Any, save: Any) -> None:
        """Save something with the states of all ranks.

        Raises:
            ConfigError: It cannot be written.
        """
        self._states = random_states()
        try:
            save()
        except OSError as error:
            raise ConfigError(
                'work_dir',
                f'cannot save a checkpoint to {self.out_dir}: {error}; those that are there are '
                'whole: make room and go on with --resume',
            ) from error
        finally:
            self._states = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the states of the generators."""
        if self._states is not None:
            checkpoint[ENTRY] = self._states

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        """Save first, then remove what is too old."""
        limit, keep = self.max_keep_ckpts, super()._save_checkpoint_with_step
        if limit > 0:
            self.max_keep_ckpts = limit + 1
            self.keep_ckpt_ids = deque(self.keep_ckpt_ids, limit + 1)
        try:
            self._write(runner, lambda: keep(runner, step, meta))
        finally:
            self.max_keep_ckpts = limit
        self._saved = meta['iter']
        while limit > 0 and len(self.keep_ckpt_ids) > limit:
            old = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
            self._remove(self.file_backend.join_path(self.out_dir, old))
        if limit > 0:
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def _save_best_checkpoint(self, runner: Any, metrics: Any) -> None:
        """Save first, then remove what is no longer the best."""
        several = self.save_best is not None and len(self.key_indicators) > 1
        if not self.save_best or several:
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
