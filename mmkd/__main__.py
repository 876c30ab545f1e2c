"""The command ``mmkd TOOL``, or ``python -m mmkd TOOL``; without arguments it lists the tools."""

import ast
import sys
from pathlib import Path

from mmkd import cli, payload


def main() -> None:
    """Run the tool that the command line names."""
    tool, *arguments = sys.argv[1:] or ['']
    if tool in cli.TOOLS:
        if '' not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, '')  # modules of the current folder, as with python -m
        sys.argv = [f'mmkd {tool}', *arguments]  # the name in messages of argparse
        cli.run(tool)
        return
    print('usage: mmkd TOOL [arguments]\n')
    for name in cli.TOOLS:
        source = Path(cli.__path__[0], f'{name}.py').read_text(encoding='utf-8')
        summary = (ast.get_docstring(ast.parse(source)) or '').split('\n\n')[0]
        print(f'  {name:<20} {" ".join(summary.split())}')
    print(f'\nmmkd TOOL --help shows the arguments of a tool. Launch scripts: {payload("tools")}')
    sys.exit(0 if tool in ('', '-h', '--help') else 2)


if __name__ == '__main__':
    main()
