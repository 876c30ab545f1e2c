"""See mmkd/cli/vis_masks.py; ``mmkd vis_masks`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('vis_masks')
