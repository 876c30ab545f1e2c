from mmkd.evaluation.calibration import Calibration

__all__ = ['Calibration']
