from mmkd.methods.acam import ACAM
from mmkd.methods.at import AT
from mmkd.methods.base import Method
from mmkd.methods.cirkd import CIRKD
from mmkd.methods.cospress import CosPress
from mmkd.methods.cross_kd import CrossKD
from mmkd.methods.cs_kd import CSKD
from mmkd.methods.cwd import CWD
from mmkd.methods.dafa import DAFA
from mmkd.methods.dam import DAM
from mmkd.methods.dist import DIST
from mmkd.methods.dkd import DKD
from mmkd.methods.dlb import DLB
from mmkd.methods.feature_mimic import FeatureMimic
from mmkd.methods.fgd import FGD
from mmkd.methods.gpd import GPD
from mmkd.methods.ifvd import IFVD
from mmkd.methods.instance_kd import InstanceKD
from mmkd.methods.ld import LD
from mmkd.methods.logit_kd import LogitKD
from mmkd.methods.maskd import MasKD
from mmkd.methods.mcmi import MCMI
from mmkd.methods.mgd import MGD
from mmkd.methods.mix_kd import MixKD
from mmkd.methods.nkd import NKD
from mmkd.methods.ofa import OFA
from mmkd.methods.patchmix_simulation_kd import PatchMixSimulationKD
from mmkd.methods.pkd import PKD
from mmkd.methods.progressive_self_kd import ProgressiveSelfKD
from mmkd.methods.schedule import Schedule
from mmkd.methods.skd import SKD
from mmkd.methods.snapshot_self_kd import SnapshotSelfKD
from mmkd.methods.stochastic_self_kd import StochasticSelfKD
from mmkd.methods.teacher_free_kd import TeacherFreeKD
from mmkd.methods.uskd import USKD

__all__ = [
    'ACAM',
    'AT',
    'CIRKD',
    'CSKD',
    'CWD',
    'DAFA',
    'DAM',
    'DIST',
    'DKD',
    'DLB',
    'FGD',
    'GPD',
    'IFVD',
    'LD',
    'MCMI',
    'MGD',
    'NKD',
    'OFA',
    'PKD',
    'SKD',
    'USKD',
    'CosPress',
    'CrossKD',
    'FeatureMimic',
    'InstanceKD',
    'LogitKD',
    'MasKD',
    'Method',
    'MixKD',
    'PatchMixSimulationKD',
    'ProgressiveSelfKD',
    'Schedule',
    'SnapshotSelfKD',
    'StochasticSelfKD',
    'TeacherFreeKD',
]
