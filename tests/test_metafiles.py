"""Metafiles: every config is listed, every value has an origin, every page shows both."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import yaml
from mmengine.registry import DATA_SAMPLERS
from support.helpers import CONFIGS, ROOT

from mmkd.methods.detection import parse_family
from mmkd.registry import MODELS
from mmkd.utils.loading import load_config

PAGES = runpy.run_path(str(ROOT / 'tools/dev/readme_tables.py'))
FOLDERS = sorted(path.parent for path in CONFIGS.glob('*/metafile.yml'))
METAFILES = {folder: yaml.safe_load((folder / 'metafile.yml').read_text()) for folder in FOLDERS}
MODELS_OF_ALL = [model for metafile in METAFILES.values() for model in metafile['Models']]
# Keys of a method that belong to the data or to the network.
NO_CHOICE = {'num_classes', 'num_samples'}

every_folder = pytest.mark.parametrize('folder', FOLDERS, ids=lambda p: p.name)
every_model = pytest.mark.parametrize('model', MODELS_OF_ALL, ids=lambda m: m['Name'])


def sources(model: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries that name a file."""
    return [entry for entry in model['Metadata']['Provenance'] if 'Repository' in entry]


@cache
def read(path: str) -> dict[str, Any]:
    """Return a config, with the keys of ``model.distill`` and its ``methods`` beside the others."""
    config = load_config(str(ROOT / path), 'config')[0].to_dict()
    distill = config['model'].get('distill', {})
    return {**config, **distill, **distill.get('methods', {})}


def default(config: Mapping[str, Any], name: str) -> Any:
    """Return the value of an argument that a config leaves out."""
    found = MODELS.get(config['type']) or DATA_SAMPLERS.get(config['type'])
    for cls in found.__mro__:
        parameter = inspect.signature(cls.__init__).parameters.get(name)
        if parameter is not None and parameter.kind is not parameter.VAR_KEYWORD:
            if parameter.default is None and 'head' in config:  # as published for the head
                return getattr(parse_family(config['head']), name)
            return parameter.default
    raise KeyError(name)


def lookup(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key such as ``pkd.weight``."""
    value = config
    for name in key.split('.'):
        value = value[name] if name in value else default(value, name)
    return list(value) if isinstance(value, tuple) else value


def chosen(config: Mapping[str, Any], path: str = '') -> Iterator[str]:
    """Yield the paths of numbers and of lists of numbers."""
    for name, value in config.items():
        key = f'{path}.{name}'.lstrip('.')
        items = value if isinstance(value, (list, tuple)) else [value]
        if isinstance(value, Mapping):
            yield from chosen(value, key)
        elif name not in NO_CHOICE and all(type(item) in (int, float) for item in items):
            yield key


@every_folder
def test_every_config_is_listed(folder):
    assert (folder / 'README.md').is_file()
    collections = {c['Name']: c for c in METAFILES[folder]['Collections']}
    for collection in collections.values():
        assert (ROOT / collection['README']).is_file()
        assert (ROOT / collection['Code']['Path']).is_file()
    models = METAFILES[folder]['Models']
    assert len({m['Name'] for m in models}) == len(models)
    assert {m['In Collection'] for m in models} <= set(collections)
    listed = sorted(m['Config'] for m in models)
    shipped = sorted(str(p.relative_to(ROOT)) for p in folder.glob('*.py'))
    assert listed == shipped


def test_model_index():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert sorted(index['Import']) == [f'configs/{f.name}/metafile.yml' for f in FOLDERS]


@every_model
def test_origins_are_complete(model):
    """An entry names repository, commit and file, or says why there is none."""
    entries = model['Metadata']['Provenance']
    assert entries
    for entry in entries:
        kinds = [kind for kind in ('Repository', 'Paper', 'Ours') if kind in entry]
        assert len(kinds) == 1 and isinstance(entry[kinds[0]], str)
        known = {'Repository', 'Commit', 'File'} if 'Repository' in entry else set(kinds)
        assert known <= set(entry) <= known | {'Config', 'Note', 'Values'}
    for entry in sources(model):
        assert re.fullmatch(r'[\w.-]+/[\w.-]+', entry['Repository'])
        assert re.fullmatch(r'[0-9a-f]{7,40}', entry['Commit'])
        assert not entry['File'].startswith('/')
    if model['Metadata'].get('Distilled'):  # under a published name
        assert sources(model) or any('Paper' in entry for entry in entries)


@pytest.mark.slow
@every_model
def test_origins_are_those_of_the_values(model):
    """The values are the config's, and on a public data set every number has an origin."""
    for package in ('mmdet', 'mmseg', 'mmpretrain'):
        pytest.importorskip(package)
    found: set[str] = set()
    for entry in model['Metadata']['Provenance']:
        config = read(entry.get('Config', model['Config']))
        for key, value in entry.get('Values', {}).items():
            assert lookup(config, key) == value, key
        if 'Config' not in entry:
            assert not found & set(entry.get('Values', {})), 'one value, one origin'
            found |= set(entry.get('Values', {}))
    if model['Metadata']['Training Data'] in PAGES['PUBLIC']:
        config = read(model['Config'])
        parts = {**config['methods'], 'mixer': config.get('mixer') or {}}
        numbers = [key for key in chosen(parts) if key not in found]
        assert not numbers, f'add {numbers} to Provenance in the metafile'


@every_folder
def test_tables(folder):
    page = (folder / 'README.md').read_text()
    assert PAGES['BEGIN'] in page
    assert page == PAGES['page'](folder), 'run python tools/dev/readme_tables.py'
