"""ACAM in whole steps, and what it keeps in memory."""

from __future__ import annotations

import torch
from support.tiny_models import make_student, preprocessed, teacher_config

from mmkd.cli.benchmark_attention import make_forms, measure, step
from mmkd.cli.timing import saved_bytes
from mmkd.models.first_step import FirstStep


def test_kept_memory_and_results_against_the_naive_form():
    """At 40 × 42 cells the matrix is not all there is yet; at 100 × 168 the ratio is 11.8."""
    rows = {r['form']: r for r in measure((40, 42), 32, 2, [2], rounds=1, device='cpu')}
    assert rows['exact']['saved_bytes'] < rows['naive']['saved_bytes'] / 8
    assert rows['pool=2']['saved_bytes'] < rows['exact']['saved_bytes']
    for name in ('loss', 'student_gradient', 'weights_gradient'):
        assert rows['exact'][f'{name}_difference'] < 1e-4
        assert rows['exact'][f'{name}_difference'] > 0 or name == 'loss'
    assert rows['pool=2']['student_gradient_difference'] > 1e-4


def test_recomputing_keeps_less():
    teacher, student = (torch.randn(1, 32, 20, 21) for _ in range(2))
    method = make_forms(teacher, student, [])['exact']
    kept = []
    for checkpoint in (False, True):
        method.checkpoint = checkpoint
        kept.append(saved_bytes(lambda: step(method, student.requires_grad_(), teacher))[1])
    assert kept[1] < 0.7 * kept[0]


def test_the_report_does_not_judge_terms_that_train_the_masks(tmp_path):
    method = dict(type='mmkd.ACAM', student='neck', teacher='neck', diversity=1e3, fusion='teacher')
    model = make_student('det', teacher=teacher_config('det', tmp_path), methods=dict(acam=method))
    model.distiller.first_step = FirstStep()
    model(*preprocessed(model, 'det'), mode='loss')
    rows = {row.name: row for row in model.distiller.first_step.rows}
    diversity = rows['distill.acam.loss_diversity']
    assert diversity.ratio > 10 and diversity.gradient == 0.0
    assert not any('diversity' in text for text in model.distiller.first_step.warnings())
