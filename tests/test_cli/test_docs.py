"""Pages: what they name exists, and the config that is there to be copied is run."""

from __future__ import annotations

import re

import pytest
from mmengine.config import Config
from support.helpers import ROOT

from mmkd.utils.loading import load_config

PAGES = [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('configs/*/README.md')]


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_page_names_exists(page):
    text = page.read_text()
    paths = re.findall(r'`((?:mmkd|tests|configs|tools|docs)/[^`\s{}…<>]*)`', text)
    assert not [path for path in paths if not list(ROOT.glob(path.rstrip('/').partition('::')[0]))]
    links = re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', text)
    local = [link for link in links if '://' not in link]
    assert not [link for link in local if not (page.parent / link).exists()]


@pytest.mark.slow
def test_the_config_of_an_architecture_that_is_not_shipped(workspace):
    """The first block of the page, two iterations; only sizes and untrained weights differ.

    There is no evaluation, which wants all 80 classes in the annotations.
    """
    page = (ROOT / 'docs/your-own-config.md').read_text()
    block = re.search(r'```python\n(.*?)```', page, re.DOTALL).group(1)
    (workspace.folder / 'my_atss.py').write_text(block)
    workspace.coco_layout()
    teacher = load_config('mmdet::atss/atss_r101_fpn_1x_coco.py', 'teacher')[0]
    workspace.save_untrained(teacher, 'teacher.pth')
    assert Config.fromfile(workspace.folder / 'my_atss.py').model.student == 'ATSS'
    printed = workspace.run(
        'tools/train.py',
        'my_atss.py',
        '--work-dir',
        'atss',
        '--cfg-options',
        'model.backbone.init_cfg=None',
        'model.distill.teacher.checkpoint=teacher.pth',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=4',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_dataloader.dataset.pipeline.2.scale=(96,96)',
        'default_hooks.logger.interval=1',
        'val_dataloader=None',
        'val_evaluator=None',
        'val_cfg=None',
    )
    assert re.search(r'Epoch\(train\)\s+\[1\]\[2/', printed), printed[-3000:]
    assert 'distill.acam.loss_spatial' in printed
    assert 'distill.acam.area_spatial' in printed
    assert 'inherited' in printed
