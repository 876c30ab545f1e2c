from mmkd.methods.base import Method
from mmkd.methods.cs_kd import CSKD
from mmkd.methods.dlb import DLB
from mmkd.methods.feature_mimic import FeatureMimic
from mmkd.methods.logit_kd import LogitKD
from mmkd.methods.patchmix_simulation_kd import PatchMixSimulationKD
from mmkd.methods.progressive_self_kd import ProgressiveSelfKD
from mmkd.methods.schedule import Schedule
from mmkd.methods.snapshot_self_kd import SnapshotSelfKD
from mmkd.methods.stochastic_self_kd import StochasticSelfKD
from mmkd.methods.teacher_free_kd import TeacherFreeKD
from mmkd.methods.uskd import USKD

__all__ = [
    'CSKD',
    'DLB',
    'USKD',
    'FeatureMimic',
    'LogitKD',
    'Method',
    'PatchMixSimulationKD',
    'ProgressiveSelfKD',
    'Schedule',
    'SnapshotSelfKD',
    'StochasticSelfKD',
    'TeacherFreeKD',
]
