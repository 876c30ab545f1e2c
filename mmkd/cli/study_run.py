"""One run of a study: train, then evaluate the last state, in a process of its own."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmkd  # noqa: F401
from mmkd.cli.launch import use_available_backend


def run(work_dir: Path, config: str, options: dict[str, Any], test: bool) -> dict[str, Any]:
    """Train a config unless it is trained, evaluate val (and test), and write ``result.json``.

    Args:
        work_dir: Where everything goes.
        config: Path of the config.
        options: Overrides, as ``--cfg-options`` takes them.
        test: Whether to evaluate the test split.

    Returns:
        Metrics by split, wall time, peak memory in MiB and the path of the last checkpoint.
    """
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    cfg.work_dir = str(work_dir)
    use_available_backend(cfg)
    file = work_dir / 'result.json'
    result = json.loads(file.read_text()) if file.exists() else {}
    trained = 'val' in result
    if not trained:
        runner = Runner.from_cfg(cfg)
        last = LastMetrics()
        runner.register_hook(last)
        started = time.time()
        runner.train()
        result = dict(
            config=config,
            options=options,
            seconds=round(time.time() - started, 1),
            peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            checkpoint=(work_dir / 'last_checkpoint').read_text().strip(),
            val=numbers(last.metrics),
        )
    else:
        cfg.load_from = result['checkpoint']
        runner = Runner.from_cfg(cfg)
    if test:  # the loop alone after training, when the hooks are ready
        result['test'] = numbers(runner.test() if trained else runner.test_loop.run())
    file.write_text(json.dumps(result, indent=1))
    return result


class LastMetrics(Hook):
    """Keeps the metrics of the last validation, which every training loop ends with."""

    metrics: dict[str, Any]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Remember the metrics."""
        self.metrics = metrics or {}


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Keep what JSON can hold."""
    return {name: float(value) for name, value in metrics.items()}


if __name__ == '__main__':
    folder = Path(sys.argv[1])
    run(folder, **json.loads(sys.argv[2]))
