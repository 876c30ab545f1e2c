"""Run a tool of mmkd wherever it is installed: ``python -m mmkd train CONFIG …``.

Without arguments it prints the tools and the folder that they and the launch scripts are in.
"""

import runpy
import sys
from pathlib import Path

from mmkd import payload


def main() -> None:
    """Run the tool that the command line names as if it had been called by its path."""
    folder = Path(payload('tools'))
    tools = sorted(path.stem for path in folder.glob('*.py'))
    if len(sys.argv) < 2 or sys.argv[1] not in tools:
        print(f'usage: python -m mmkd TOOL [arguments]\ntools: {", ".join(tools)}\nin: {folder}')
        sys.exit(0 if len(sys.argv) < 2 else 2)
    path = str(folder / f'{sys.argv[1]}.py')
    sys.argv = [path, *sys.argv[2:]]
    sys.path.insert(0, str(folder))  # as Python does for a script
    runpy.run_path(path, run_name='__main__')


if __name__ == '__main__':
    main()
