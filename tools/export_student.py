"""See mmkd/cli/export_student.py; ``mmkd export_student`` is the same."""

from mmkd.cli import run

if __name__ == '__main__':
    run('export_student')
