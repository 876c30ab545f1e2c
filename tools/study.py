"""See mmkd/cli/study.py; ``mmkd study`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('study')
