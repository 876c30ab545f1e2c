from mmkd.methods.base import Method
from mmkd.methods.feature_mimic import FeatureMimic
from mmkd.methods.instance_kd import InstanceKD
from mmkd.methods.logit_kd import LogitKD
from mmkd.methods.patchmix_simulation_kd import PatchMixSimulationKD
from mmkd.methods.schedule import Schedule

__all__ = [
    'FeatureMimic',
    'InstanceKD',
    'LogitKD',
    'Method',
    'PatchMixSimulationKD',
    'Schedule',
]
