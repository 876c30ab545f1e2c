"""See mmkd/cli/list_taps.py; ``mmkd list_taps`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('list_taps')
