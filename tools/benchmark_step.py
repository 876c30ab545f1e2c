"""See mmkd/cli/benchmark_step.py; ``mmkd benchmark_step`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('benchmark_step')
