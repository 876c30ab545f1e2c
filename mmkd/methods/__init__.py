from mmkd.methods.acam import ACAM
from mmkd.methods.base import Method
from mmkd.methods.feature_mimic import FeatureMimic
from mmkd.methods.logit_kd import LogitKD
from mmkd.methods.patchmix_simulation_kd import PatchMixSimulationKD
from mmkd.methods.schedule import Schedule

__all__ = ['ACAM', 'FeatureMimic', 'LogitKD', 'Method', 'PatchMixSimulationKD', 'Schedule']
