"""See mmkd/cli/benchmark_attention.py; ``mmkd benchmark_attention`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('benchmark_attention')
