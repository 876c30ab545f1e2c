"""A sample of tests/reliability/fuzz.py: mistakes in configs end in one line, or train."""

from __future__ import annotations

import logging
import random

import pytest
from reliability.fuzz import BAD, rounds, valid_config
from support.mutations import mutate
from support.tiny_models import TASKS

ROUNDS = 40


@pytest.mark.slow
@pytest.mark.parametrize('task', TASKS)
def test_mistakes_end_in_one_line_or_train(task, tmp_path):
    logging.disable(logging.CRITICAL)
    try:
        found = list(rounds(task, range(ROUNDS), tmp_path, limit=30))
    finally:
        logging.disable(logging.NOTSET)
    wrong = [entry for entry in found if entry[3] in BAD]
    assert not wrong, '\n'.join(map(str, wrong))
    kinds = [kind for *_, kind, _ in found]
    assert kinds.count('trained') >= 5 and kinds.count('refused') >= 15


def test_rounds_can_be_repeated(tmp_path):
    config = valid_config('ACAM', tmp_path)
    changes = [mutate(config, random.Random('det 1')) for _ in range(2)]
    assert changes[0] == changes[1] and changes[0][0] != config
