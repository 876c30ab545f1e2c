"""See mmkd/cli/plot_tax.py; ``mmkd plot_tax`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('plot_tax')
