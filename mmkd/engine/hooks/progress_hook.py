"""A progress bar for people who watch a training run."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmkd.registry import HOOKS

REFRESH = 0.2  # seconds between two drawings
PLAIN_STEPS = 5  # lines for a whole run where the output is no terminal


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show one bar for training and one for each evaluation, instead of the log.

    The whole log is in the work directory as always. Where the output is no terminal, a few plain
    lines stand in for the bar.

    Args:
        title: What is trained, in front of the bar. Defaults to ``'train'``.
        quiet: Keep everything below warnings off the console. Defaults to True.
        fd: File descriptor to draw on, for a process whose standard output is a file. Defaults to
            None, standard output.
    """

    priority = 'VERY_LOW'

    def __init__(self, title: str = 'train', quiet: bool = True, fd: int | None = None) -> None:
        self.title = title
        self.quiet = quiet
        self.fd = fd
        self.console: Console | None = None
        self.progress: Progress | None = None
        self._total = self._lines = self._max_iters = 0
        self._at = self._started = 0.0

    def before_run(self, runner: Any) -> None:
        """Quieten the console."""
        if not is_main_process() or self.console is not None:
            return
        if self.quiet:
            for handler in runner.logger.handlers:
                is_file = isinstance(handler, logging.FileHandler)
                if isinstance(handler, logging.StreamHandler) and not is_file:
                    handler.setLevel(logging.WARNING)
        stream = None if self.fd is None else os.fdopen(os.dup(self.fd), 'w')
        self.console = Console(file=stream)

    def before_train(self, runner: Any) -> None:
        """Start the bar, where a resumed run goes on."""
        self._max_iters = runner.max_iters
        self._begin(self.title, self._max_iters, runner.iter)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Advance the bar; the loss is read only when it is drawn."""
        self._advance(runner.iter + 1, outputs)

    def after_train(self, runner: Any) -> None:
        """Leave the finished bar."""
        self._end()

    def before_val_epoch(self, runner: Any) -> None:
        """Start a bar below that of training, if there is one."""
        self._begin(f'{self.title}: validation', len(runner.val_dataloader))

    def before_test_epoch(self, runner: Any) -> None:
        """Start a bar."""
        self._begin(f'{self.title}: test', len(runner.test_dataloader))

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Advance the bar."""
        self._advance(batch_idx + 1)

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        """End the bar."""
        self._end()

    after_test_epoch = after_val_epoch

    def _begin(self, title: str, total: int, completed: int = 0) -> None:
        if self.console is None:
            return
        self._end()  # a validation in the middle of training replaces its bar
        self._total, self._at = total, 0.0
        self._lines = completed * PLAIN_STEPS // max(total, 1)
        if not completed:
            self._started = time.monotonic()
        self.progress = Progress(
            TextColumn('{task.description:<22}'),
            BarColumn(bar_width=36),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn('{task.fields[loss]}'),
            console=self.console,
            # No refreshing thread: data loaders fork this process.
            auto_refresh=False,
            disable=not self.console.is_terminal,
        )
        self.progress.add_task(title, total=total, completed=completed, loss='')
        self.progress.start()

    def _advance(self, completed: int, outputs: Any = None) -> None:
        now = time.monotonic()
        if self.console is None:
            return
        if self.progress is None:  # training goes on after a validation
            self._begin(self.title, self._max_iters, completed - 1)
        assert self.progress is not None
        finished = completed >= self._total
        if self.console.is_terminal:
            if now - self._at < REFRESH and not finished:
                return
            loss = (outputs or {}).get('loss')
            shown = '' if loss is None else f'loss {float(loss):.3f}'
            task = self.progress.task_ids[0]
            self.progress.update(task, completed=completed, loss=shown, refresh=True)
            self._at = now
        elif completed * PLAIN_STEPS // max(self._total, 1) > self._lines and outputs is not None:
            self._lines = completed * PLAIN_STEPS // self._total
            seconds = now - self._started
            self.console.print(
                f'{self.title}: {completed}/{self._total} iterations, {seconds:.0f} s',
                highlight=False,
            )

    def _end(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
