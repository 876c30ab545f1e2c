from mmkd.methods.base import Method
from mmkd.methods.cirkd import CIRKD
from mmkd.methods.cross_kd import CrossKD
from mmkd.methods.feature_mimic import FeatureMimic
from mmkd.methods.ifvd import IFVD
from mmkd.methods.ld import LD
from mmkd.methods.logit_kd import LogitKD
from mmkd.methods.patchmix_simulation_kd import PatchMixSimulationKD
from mmkd.methods.schedule import Schedule
from mmkd.methods.skd import SKD

__all__ = [
    'CIRKD',
    'IFVD',
    'LD',
    'SKD',
    'CrossKD',
    'FeatureMimic',
    'LogitKD',
    'Method',
    'PatchMixSimulationKD',
    'Schedule',
]
