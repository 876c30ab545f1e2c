from mmkd.mixers.base import Mixer
from mmkd.mixers.cutmix import CutMix
from mmkd.mixers.mixup import MixUp
from mmkd.mixers.patchmix import PatchMix
from mmkd.mixers.view import Part, View

__all__ = ['CutMix', 'MixUp', 'Mixer', 'Part', 'PatchMix', 'View']
