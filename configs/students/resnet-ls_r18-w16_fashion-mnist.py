# The student of Fashion-MNIST with label smoothing, the baseline of the methods without a teacher.
_base_ = './resnet_r18-w16_fashion-mnist.py'
model = dict(
    head=dict(
        loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
    )
)
