"""The public names: what configs, downstream code and command lines may rely on.

``python tests/golden/record_names.py`` records them anew. A name goes only after a deprecation.
"""

from __future__ import annotations

import json

from golden.record_names import FILE, public_names


def test_public_names():
    recorded, found = json.loads(FILE.read_text()), json.loads(json.dumps(public_names()))
    for group, expected in recorded.items():
        missing = sorted(set(expected) - set(found[group]))
        added = sorted(set(found[group]) - set(expected))
        assert not missing and not added, f'{group}: gone {missing}, new {added}'
        for name, arguments in expected.items():
            assert found[group][name] == arguments, f'{group}: {name}'
