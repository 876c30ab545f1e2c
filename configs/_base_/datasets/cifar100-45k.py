# CIFAR-100, 32 x 32: the first 45 000 training images; the last 5000 are val, the official test set
# is test. Settings are chosen on val; test is for the final numbers.
_base_ = './cifar100-32px.py'
train_dataloader = dict(batch_size=128, dataset=dict(indices=45000))
val_dataloader = dict(dataset=dict(split='train', indices=-5000))
test_dataloader = dict(dataset=dict(split='test'))
# Settings are chosen by accuracy; calibration error and log-likelihood are reported beside it.
val_evaluator = [
    dict(type='Accuracy', topk=(1,)),
    dict(type='mmkd.Calibration'),
]
test_evaluator = val_evaluator
