from mmkd.models.adapters import Adapter
from mmkd.models.distilled import build_distilled, distilled, plain
from mmkd.models.distiller import Distiller
from mmkd.models.mask_learner import MaskLearner
from mmkd.models.mask_tokens import MaskTokens
from mmkd.models.side_learner import SideLearner
from mmkd.models.taps import Tap
from mmkd.models.teacher import Teacher

__all__ = [
    'Adapter',
    'Distiller',
    'MaskLearner',
    'MaskTokens',
    'SideLearner',
    'Tap',
    'Teacher',
    'build_distilled',
    'distilled',
    'plain',
]
