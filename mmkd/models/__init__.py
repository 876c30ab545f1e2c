from mmkd.models.adapters import Adapter
from mmkd.models.distilled import build_distilled, distilled, plain
from mmkd.models.distiller import Distiller
from mmkd.models.taps import Tap
from mmkd.models.teacher import Teacher

__all__ = ['Adapter', 'Distiller', 'Tap', 'Teacher', 'build_distilled', 'distilled', 'plain']
