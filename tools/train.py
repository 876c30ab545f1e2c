"""See mmkd/cli/train.py; ``mmkd train`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('train')
