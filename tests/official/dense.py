"""Feature methods: CWD, PKD, MGD, FGD, MasKD, AT, FitNet."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from support.views import built, plain_view
from torch import Tensor, nn

from mmkd.functional import dice_diversity
from mmkd.methods import AT, CWD, FGD, MGD, PKD, FeatureMimic, MasKD, Method
from mmkd.mixers import View
from mmkd.models import MaskTokens
from official.cases import Case, official


def maps(case: Case, side: str) -> list[Tensor]:
    """Return the maps of one side, level by level."""
    return [case[name] for name in (side, f'{side}_1') if name in case.inputs]


def prepared(method: Method, case: Case) -> Any:
    """Create the method's parameters for the maps of a case."""
    return built(method, maps(case, 'student'), maps(case, 'teacher'))


def loss(method: Method, case: Case, view: View | None = None) -> Tensor:
    """Return the sum of the method's losses, unweighted."""
    view = view or plain_view(len(case['student']))
    losses = method.compute(maps(case, 'student'), maps(case, 'teacher'), view)
    return torch.stack(list(losses.values())).sum()


def fill(module: nn.Module, case: Case, prefix: str) -> None:
    """Set the weights of a layer to recorded ones; a bias that is not recorded to 0."""
    for name, parameter in module.named_parameters():
        recorded = case.inputs.get(f'{prefix}_{name}', torch.zeros_like(parameter))
        parameter.data = recorded.reshape(parameter.shape).clone()


# CWD, PKD, AT, FitNet -----------------------------------------------------------------------------


@official('cwd_mmrazor_*')
def cwd(case: Case) -> Tensor:
    """KL of every channel's distribution over the map."""
    method = prepared(CWD('a', 'b', tau=case.params['tau']), case)
    return case.params['loss_weight'] * loss(method, case)


@official('cwd_cirkd_same_channels')
@official(
    'cwd_cirkd_channels_4_to_7',
    deviation="CWD divides by the teacher's channels, CIRKD by the student's: weight=C_t / C_s",
)
def cwd_cirkd(case: Case) -> Tensor:
    """The weight has the ratio of the channels."""
    method = prepared(CWD('a', 'b', tau=case.params['tau']), case)
    fill(method.adapters[0].project, case, 'conv')
    return case['teacher'].shape[1] / case['student'].shape[1] * loss(method, case)


@official('pkd_*')
def pkd(case: Case) -> Tensor:
    """Half the squared difference of standardized maps."""
    return case.params['loss_weight'] * loss(prepared(PKD('a', 'b', resize=True), case), case)


@official('at_*')
def at(case: Case) -> Tensor:
    """Squared difference of attentions of unit length."""
    return loss(prepared(AT('a', 'b', p=case.params['p'], resize=True), case), case)


@official('fitnet_cirkd_*')
def fitnet(case: Case) -> Tensor:
    """Mean squared difference behind a 1×1 convolution without bias."""
    method = prepared(FeatureMimic('a', 'b', adapter='conv'), case)
    fill(method.adapters[0].project, case, 'conv')
    return loss(method, case)


@official('fitnet_mdistiller_regressor')
def fitnet_regressor(case: Case) -> Tensor:
    """Mean squared difference behind a convolution, batch normalization and a ReLU."""
    method = prepared(FeatureMimic('a', 'b', adapter='regressor'), case)
    conv, norm, _ = method.adapters[0].project
    assert norm.eps == case.params['bn_eps']
    fill(conv, case, 'conv')
    fill(norm, case, 'bn')
    return case.params['feat_weight'] * loss(method, case)


# MGD, FGD -----------------------------------------------------------------------------------------


@official('mgd_*')
def mgd(case: Case) -> Tensor:
    """Squared difference of the generated map, summed over channels and cells."""
    ratio, kind = case.params['lambda_mgd'], case.params['mask']
    method = prepared(MGD('a', 'b', mask=kind, mask_ratio=ratio), case)
    fill(method.adapters[0].project, case, 'align')
    for index in (0, 2):
        fill(method.generators[0][index], case, f'gen{index}')
    method.draw = lambda teacher: [case['mask'].to(teacher[0])]
    return case.params['alpha_mgd'] * loss(method, case)


@official('fgd_*')
def fgd(case: Case) -> Tensor:
    """Foreground, background, attention and global relation."""
    names = dict(alpha='alpha_fgd', beta='beta_fgd', gamma='gamma_fgd', lambda_='lambda_fgd')
    weights = {ours: case.params[theirs] for ours, theirs in names.items()}
    method = prepared(FGD('a', 'b', **weights, tau=case.params['temp']), case)
    fill(method.adapters[0].project, case, 'align')
    for side, block in (('s', method.student_context[0]), ('t', method.teacher_context[0])):
        fill(block.conv_mask, case, f'{side}_mask')
        for index, name in ((0, 'add0'), (1, 'norm'), (3, 'add3')):
            fill(block.channel_add_conv[index], case, f'{side}_{name}')
    samples = []
    for image, shape in enumerate(case['img_shape'].tolist()):
        sample = DetDataSample(metainfo=dict(img_shape=tuple(shape)))
        boxes = case['boxes'][case['box_image'] == image]
        sample.gt_instances = InstanceData(bboxes=boxes)
        samples.append(sample)
    height, width = case['img_shape'].amax(0).tolist()
    inputs = torch.zeros(len(samples), 3, height, width)
    return loss(method, case, View.plain(inputs, samples))


# MasKD --------------------------------------------------------------------------------------------


def fill_tokens(module: MaskTokens, case: Case, suffix: str = '') -> None:
    """Set tokens, and the layers of their weights, to recorded ones."""
    module.tokens.data = case[f'tokens{suffix}'].detach().clone()
    for index in (0, 2) if module.score is not None else ():
        fill(module.score[index], case, f'prob{index}')


def with_tokens(case: Case, **kwargs: Any) -> MasKD:
    """Return the method with the recorded tokens."""
    weighted = case.params.get('weight_mask', False)
    suffixes = ('', '_1')[: len(maps(case, 'teacher'))]
    levels = nn.ModuleList()
    for suffix in suffixes:
        count, channels = case[f'tokens{suffix}'].shape
        levels.append(MaskTokens(channels, count, weighted))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'tokens.pth'
        state = {f'mask_tokens.{name}': value for name, value in levels.state_dict().items()}
        torch.save(dict(state_dict=state), path)
        method = prepared(MasKD('a', 'b', str(path), **kwargs), case)
    for module, suffix in zip(method.mask_tokens, suffixes):
        fill_tokens(module, case, suffix)  # in fp64, which the file's modules are not
    return method


@official('maskd_det_*')
def maskd_det(case: Case) -> Tensor:
    """The detectors' form: no epsilon; the student's masks after a warm-up."""
    warmup = 0 if case.params['custom_mask'] else None
    method = with_tokens(case, custom_mask_warmup=warmup)
    return case.params['loss_weight'] * loss(method, case)


@official('maskd_seg')
def maskd_seg(case: Case) -> Tensor:
    """The segmenters' form: an epsilon, no weights of tokens."""
    method = with_tokens(case, eps=case.params['eps'])
    return case.params['factor'] * loss(method, case)


@official('maskd_dice', 'maskd_dice_equal_and_empty')
def maskd_dice(case: Case) -> Tensor:
    """The overlap of all pairs of masks."""
    return dice_diversity(case['masks'], eps=case.params['eps'])


@official('maskd_mask_stage')
def maskd_mask_stage(case: Case) -> dict[str, Tensor]:
    """The masked map of the mask stage, and the overlap of its masks."""
    channels = case['feature'].shape[1]
    module = MaskTokens(channels, case.params['num_tokens'], case.params['weight_mask']).double()
    fill_tokens(module, case)
    del module._parameters['tokens']
    module.tokens = case['tokens']  # the recorded gradient is that of the tokens
    masked, masks = module(case['feature'])
    return dict(probe=(case['probe'] * masked).sum(), dice=dice_diversity(masks.flatten(2)))
