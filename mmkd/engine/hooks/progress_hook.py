"""Progress bars on the console."""

from __future__ import annotations

import logging
import os
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmkd.registry import HOOKS

REFRESH = 0.2  # seconds between two drawings
LINES = 5  # of a whole run if the output is not a terminal
SUFFIX = dict(train='', val=': validation', test=': test')


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show a bar for training and one for evaluation instead of the log.

    The work directory still has the full log. If the output is not a terminal, training prints a
    few plain lines.

    Args:
        title: Name of the run, in front of the bars. Defaults to ``'train'``.
        quiet: Keep messages below warnings off the console. Defaults to True.
        fd: File descriptor to draw on, if standard output is redirected. Defaults to None,
            standard output.
    """

    priority = 'VERY_LOW'

    def __init__(self, title: str = 'train', quiet: bool = True, fd: int | None = None) -> None:
        self.title, self.quiet, self.fd = title, quiet, fd
        self.progress: Progress | None = None
        self._bars: dict[str, Any] = {}
        self._drawn = 0.0

    def before_run(self, runner: Any) -> None:
        """Quiet the console; prepare the bars."""
        if not is_main_process() or self.progress is not None:
            return
        for handler in runner.logger.handlers if self.quiet else ():
            is_file = isinstance(handler, logging.FileHandler)
            if isinstance(handler, logging.StreamHandler) and not is_file:
                handler.setLevel(logging.WARNING)
        stream = None if self.fd is None else os.fdopen(os.dup(self.fd), 'w')
        console = Console(file=stream)
        self._bars = {}
        self.progress = Progress(
            TextColumn('{task.description:<22}'),
            BarColumn(bar_width=36),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn('{task.fields[loss]}'),
            console=console,
            auto_refresh=False,  # no thread: data loaders fork this process
            disable=not console.is_terminal,
        )
        self.progress.start()

    def _after_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        """Advance the bar of ``mode``; the loss is read only when it is drawn."""
        if self.progress is None:
            return
        done, total = runner.iter + 1, runner.max_iters
        if mode != 'train':
            done, total = batch_idx + 1, len(getattr(runner, f'{mode}_dataloader'))
        if mode not in self._bars:
            self._bars[mode] = self.progress.add_task(
                self.title + SUFFIX[mode], total=total, completed=done - 1, loss=''
            )
        elif done == 1:  # another validation
            self.progress.reset(self._bars[mode], total=total)
        loss = ''
        if self.progress.disable:
            lines = done * LINES // total - (done - 1) * LINES // total
            if mode == 'train' and lines:
                seconds = self.progress.tasks[self._bars[mode]].elapsed or 0
                text = f'{self.title}: {done}/{total} iterations, {seconds:.0f} s'
                self.progress.console.print(text, highlight=False)
        elif done < total and self.progress.get_time() - self._drawn < REFRESH:
            return
        elif mode == 'train' and 'loss' in (outputs or {}):
            loss = f'loss {float(outputs["loss"]):.3f}'
        self.progress.update(self._bars[mode], completed=done, loss=loss, refresh=True)
        self._drawn = self.progress.get_time()

    def after_run(self, runner: Any) -> None:
        """Leave the finished bars."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
