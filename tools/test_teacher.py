"""See mmkd/cli/test_teacher.py; ``mmkd test_teacher`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('test_teacher')
