"""See mmkd/cli/quickstart.py; ``mmkd quickstart`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('quickstart')
