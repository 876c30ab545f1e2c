"""Tables and plots of the step benchmark."""

from __future__ import annotations

import json

import pytest

from mmkd.cli.plot_tax import fill_page, format_table, plot_tax, read_rows

COMMON = dict(
    spread=0.02,
    tax_spread=0.01,
    plain_seconds=0.5,
    plain_saved_mib=10.0,
    peak_mib=None,
    batch_size=2,
    amp=False,
    device='cpu',
    device_name='some processor',
    threads=2,
    rounds=7,
)


def rows_at(side, tax):
    plain = dict(COMMON, name='plain student', kind='student', seconds=0.5, tax=1.0, parts={})
    teacher = dict(COMMON, name='a: teacher alone', kind='teacher', seconds=0.2, tax=0.4, parts={})
    own = dict(
        COMMON,
        name='a',
        kind='distilled',
        seconds=0.5 * tax,
        tax=tax,
        allowed=1.61,
        tapped_mib=3.2,
        teacher_parameters=44_000_000,
        parts=dict(teacher=0.21, methods=0.011),
    )
    return [
        dict(row, size=[side, side], saved_mib=saved)
        for row, saved in ((plain, 10.0), (teacher, None), (own, 13.4))
    ]


def test_the_table_leaves_out_teachers_and_empty_columns():
    lines = format_table(rows_at(320, 1.5)).splitlines()
    assert lines[0] == (
        '| step | seconds | tax | allowed | teacher s | methods s | kept MiB | tapped MiB |'
    )
    assert lines[2:] == [
        '| plain student | 0.500 ± 2 % | 1.00 |  |  |  | 10 |  |',
        '| a | 0.750 ± 2 % | 1.50 | 1.61 | 0.210 | 0.011 | 13 | 3 |',
    ]


def test_a_page_is_filled_again_and_again(tmp_path):
    page = tmp_path / 'page.md'
    start = '# Page\n\n<!-- steps: here.json -->\nNot yet.\n<!-- end -->\n\nText.\n\n'
    page.write_text(f'{start}<!-- steps: missing.json -->\nNot yet.\n<!-- end -->\n')
    texts = []
    for tax in (1.5, 1.4):
        (tmp_path / 'here.json').write_text(json.dumps(rows_at(320, tax)))
        assert fill_page(page) == ['missing.json']
        texts.append(page.read_text())
        assert f'| {tax:.2f} |' in texts[-1] and 'some processor, 2 threads), 320×320' in texts[-1]
        assert texts[-1].count('Not yet.') == 1 and 'Text.' in texts[-1]
    assert '| 1.50 |' not in texts[1] and len(texts[0]) == len(texts[1])


@pytest.mark.parametrize('axis', ['size', 'batch', 'teacher'])
def test_plots(axis, tmp_path):
    for side, tax in ((320, 1.5), (256, 1.6)):
        (tmp_path / f'{side}.json').write_text(json.dumps(rows_at(side, tax)))
    rows = read_rows(sorted(tmp_path.glob('*.json')))
    assert len(rows) == 6
    plot_tax(rows, axis, tmp_path / 'plots/tax.png')
    assert (tmp_path / 'plots/tax.png').read_bytes().startswith(b'\x89PNG')
