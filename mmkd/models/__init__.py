from mmkd.methods.adapters import Adapter
from mmkd.methods.maskd import MaskTokens
from mmkd.mixers.hard.vae import ConvVAE
from mmkd.models.backbones import CIFARResNet, CIFARWideResNet
from mmkd.models.distilled import build_distilled, distilled, plain
from mmkd.models.distiller import Distiller
from mmkd.models.mask_learner import MaskLearner
from mmkd.models.teacher import Teacher
from mmkd.models.teacher_alone import TeacherAlone
from mmkd.taps import Tap
from mmkd.utils.side_learner import SideLearner

__all__ = [
    'Adapter',
    'CIFARResNet',
    'CIFARWideResNet',
    'ConvVAE',
    'Distiller',
    'MaskLearner',
    'MaskTokens',
    'SideLearner',
    'Tap',
    'Teacher',
    'TeacherAlone',
    'build_distilled',
    'distilled',
    'plain',
]
