from mmkd.methods.acam import ACAM
from mmkd.methods.at import AT
from mmkd.methods.base import Method
from mmkd.methods.cirkd import CIRKD
from mmkd.methods.cross_kd import CrossKD
from mmkd.methods.cwd import CWD
from mmkd.methods.feature_mimic import FeatureMimic
from mmkd.methods.fgd import FGD
from mmkd.methods.ifvd import IFVD
from mmkd.methods.instance_kd import InstanceKD
from mmkd.methods.ld import LD
from mmkd.methods.logit_kd import LogitKD
from mmkd.methods.maskd import MasKD
from mmkd.methods.mgd import MGD
from mmkd.methods.patchmix_simulation_kd import PatchMixSimulationKD
from mmkd.methods.pkd import PKD
from mmkd.methods.schedule import Schedule
from mmkd.methods.skd import SKD

__all__ = [
    'ACAM',
    'AT',
    'CIRKD',
    'CWD',
    'FGD',
    'IFVD',
    'LD',
    'MGD',
    'PKD',
    'SKD',
    'CrossKD',
    'FeatureMimic',
    'InstanceKD',
    'LogitKD',
    'MasKD',
    'Method',
    'PatchMixSimulationKD',
    'Schedule',
]
