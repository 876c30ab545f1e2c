# AT. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
# Published: 10000. The maps are small, so the mean over their cells is large; see README.
model = dict(
    distill=dict(
        methods=dict(
            at=dict(
                type='mmkd.AT',
                student='backbone',
                teacher='backbone',
                levels=(0, 1, 2, 3),
                p=2.0,
                weight=200.0,
            )
        )
    )
)
