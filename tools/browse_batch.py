"""See mmkd/cli/browse_batch.py; ``mmkd browse_batch`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('browse_batch')
