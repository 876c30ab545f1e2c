"""The FAQ quotes messages that exist."""

from __future__ import annotations

import ast
import re

from support.helpers import ROOT


def messages():
    """Return all strings of the package, with … in place of what is filled in."""
    for path in (ROOT / 'mmkd').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = [getattr(part, 'value', None) for part in node.values]
                yield ''.join(p if isinstance(p, str) else '…' for p in parts)


def test_quoted_messages_exist():
    rows = re.findall(r'^\| `(.+?)` \|', (ROOT / 'docs/faq.md').read_text(), re.MULTILINE)
    assert len(rows) > 30
    known, missing = list(messages()), []
    for quoted in rows:
        pattern = re.compile('.*'.join(map(re.escape, quoted.split('…'))), re.DOTALL)
        missing += [] if any(pattern.search(text) for text in known) else [quoted]
    assert not missing
