"""See mmkd/cli/recipe.py; ``mmkd recipe`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('recipe')
