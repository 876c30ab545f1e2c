"""The command-line tools, one module each, with what they share.

``mmkd TOOL``, ``python -m mmkd TOOL`` and ``python tools/TOOL.py`` run the same ``main()``.
"""

from importlib import import_module

TOOLS = (
    'benchmark_attention', 'benchmark_step', 'browse_batch', 'export_student', 'list_taps',
    'plot_tax', 'quickstart', 'recipe', 'study', 'test', 'test_teacher', 'train', 'vis_masks',
)  # fmt: skip


def run(tool: str) -> None:
    """Run a tool with the arguments of the command line."""
    from mmkd.cli.common import run_tool

    run_tool(import_module(f'mmkd.cli.{tool}').main)
