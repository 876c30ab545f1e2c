# What all recipes of the small sets share; the task's own part is in {det,seg,cls}_runtime.py.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Only the last state: a run takes minutes.
    checkpoint=dict(type='CheckpointHook', interval=-1, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
val_cfg = dict()
test_cfg = dict()
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
