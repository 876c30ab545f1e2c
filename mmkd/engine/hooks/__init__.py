from mmkd.engine.hooks.distill_hook import DistillHook
from mmkd.engine.hooks.progress_hook import ProgressHook

__all__ = ['DistillHook', 'ProgressHook']
