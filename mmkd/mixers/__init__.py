from mmkd.mixers.base import Mixer
from mmkd.mixers.cutmix import CutMix
from mmkd.mixers.hard.hard_augment import HardAugment
from mmkd.mixers.mixup import MixUp
from mmkd.mixers.patch_swap import PatchSwap
from mmkd.mixers.patchmix import PatchMix
from mmkd.view import Pairs, Part, View

__all__ = [
    'CutMix',
    'HardAugment',
    'MixUp',
    'Mixer',
    'Pairs',
    'Part',
    'PatchMix',
    'PatchSwap',
    'View',
]
