"""Going on exactly where a run was."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop

from mmkd.engine.continuing import (
    own_state,
    random_state,
    rest_of_epoch,
    set_random_state,
    shield_workers,
)
from mmkd.engine.files import fault_of, newest_checkpoint
from mmkd.utils import ConfigError

ENTRY = 'random_states'


class ResumingHook(CheckpointHook):
    """The part of :class:`~mmkd.engine.SafeCheckpointHook` that acts when a run is resumed.

    Args:
        **kwargs: See mmengine's CheckpointHook.
    """

    backend_args: dict[str, Any] | None
    max_keep_ckpts: int
    keep_ckpt_ids: deque[int]
    best_ckpt_path: str | None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._restore: dict[str, Any] | None = None
        self._training: dict[str, Any] | None = None  # while a validation runs
        self._place: tuple[int, int] | None = None  # iterations done in an epoch, and its length
        self._done = 0  # iterations of this epoch that are left out
        self._whole_loader: Any = None  # while the rest of an epoch runs
        self._quiet_loader: Any = None  # that must not draw from the global generator

    def before_run(self, runner: Any) -> None:
        """Choose the checkpoint to resume from.

        Raises:
            ConfigError: That which is asked for is broken, or all are.
        """
        if not runner._resume:
            return
        chosen: list[Any] = [None, None]  # path, what is wrong
        if is_main_process():
            try:
                chosen[0] = self._choose(runner)
            except ConfigError as error:
                chosen[1] = str(error).removeprefix('resume: ')
        broadcast_object_list(chosen)
        if chosen[1] is not None:
            raise ConfigError('resume', chosen[1])
        runner._load_from = chosen[0]
        runner._resume = chosen[0] is not None

    def _choose(self, runner: Any) -> str | None:
        if runner._load_from is not None:
            path = str(runner._load_from)
            fault = None if '://' in path else fault_of(path)
            if fault:
                raise ConfigError('resume', f'{path} {fault}')
            return path
        folder = self.out_dir or runner.work_dir
        if folder != runner.work_dir:  # as CheckpointHook.before_train
            folder = str(Path(folder) / Path(runner.work_dir).name)
        found, faults = newest_checkpoint(runner.work_dir, folder)
        for fault in faults:
            runner.logger.warning(fault)
        if found is None:
            runner.logger.warning(f'{folder} has no checkpoint to resume: the run begins anew')
        elif faults:
            runner.logger.warning(f'resuming from {found} instead')
        return found

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Take out of a checkpoint where the run was."""
        states = checkpoint.pop(ENTRY, None)
        if runner._resume:
            self._restore = own_state(states)
            self._place = checkpoint['meta'].get('place_in_epoch')

    def before_train_epoch(self, runner: Any) -> None:
        """Go on where the run was: in the middle of an epoch, and of its random numbers."""
        restore, self._restore = self._restore, None
        place, self._place = self._place, None
        loop = runner.train_loop
        if not isinstance(loop, EpochBasedTrainLoop):
            if restore is not None:
                # The loader has drawn its seed when the run began; it must not draw another one.
                self._quiet_loader = loop.dataloader
                self._quiet_loader.generator = torch.Generator()
        elif place is not None and place[1] == len(loop.dataloader):
            self._done = place[0]
            self._whole_loader = loop.dataloader
            loop.dataloader = rest_of_epoch(loop.dataloader, self._done)
            runner.logger.info(f'epoch {runner.epoch + 1} goes on after {self._done} iterations')
        elif place is not None:
            runner.logger.warning(
                f'the interrupted epoch had {place[1]} iterations and now has '
                f'{len(loop.dataloader)}: it begins anew'
            )
        if restore is not None:
            set_random_state(restore)
        shield_workers(True)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Let go of what only the start of the loader's workers needed."""
        shield_workers(False)
        if self._quiet_loader is not None:
            self._quiet_loader.generator = None
            self._quiet_loader = None

    def after_train_epoch(self, runner: Any) -> None:
        """Go back to whole epochs; save."""
        shield_workers(False)
        if self._whole_loader is not None:
            runner.train_loop.dataloader, self._whole_loader = self._whole_loader, None
            self._done = 0
        super().after_train_epoch(runner)

    def before_val_epoch(self, runner: Any) -> None:
        """Keep the states of the generators: a validation draws numbers too."""
        self._training = random_state()
        shield_workers(True)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Listen to signals again."""
        shield_workers(False)

    def after_val_epoch(self, runner: Any, metrics: Any) -> None:
        """Put the states of the generators back; save the best checkpoint."""
        shield_workers(False)
        if self._training is not None:
            set_random_state(self._training)
        super().after_val_epoch(runner, metrics)
