"""See mmkd/cli/test.py; ``mmkd test`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('test')
