"""GPD: distillation from a dynamic teacher that contains the student."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.functional import soft_cross_entropy
from mmkd.methods.base import Method, all_taps, gather
from mmkd.methods.classification import check_logits
from mmkd.methods.plugins import build_part, part_losses
from mmkd.probe import probe_batch
from mmkd.registry import MODELS
from mmkd.taps import TapReader, as_fp32, flatten
from mmkd.utils import ConfigError, config_key, integer, positive, probability
from mmkd.view import View

PROBE = (64, 64)


def widen(weight: Tensor, rows: Tensor | None = None, columns: Tensor | None = None) -> Tensor:
    """Put a layer's weight into the upper left corner of a larger one.

    ``[[W, columns], [rows]]``; with ``columns = 0`` the first C_out outputs equal those of the
    narrow layer for any added inputs and rows.

    Args:
        weight: (C_out, C_in, …) of a convolution or linear layer, or (C_out,) of a norm or a bias.
        rows: (E_out, C_in + E_in, …) of E_out added outputs. Defaults to None, no added outputs.
        columns: (C_out, E_in, …) from the E_in added inputs to the narrow layer's outputs. Defaults
            to None, no added inputs.

    Returns:
        (C_out + E_out, C_in + E_in, …).
    """
    if columns is not None:
        weight = torch.cat([weight, columns], 1)
    if rows is not None:
        weight = torch.cat([weight, rows])
    return weight


def smoothed_cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy of logits (N, K) with targets (N, K), a share s of each spread evenly.

    ``(1 - s) CE(target, z) + s / K Σ_k -log p_k``, mean over the images; s is ``smoothing``.
    """
    return soft_cross_entropy(logits, (1 - smoothing) * target + smoothing / logits.shape[1])


class Growth(nn.Module):
    """Parameters added to one layer: rows for added outputs and columns for added inputs.

    The columns start at 0, so that added channels have no influence at first; the rows start as
    mmpretrain initializes a ResNet, so that they compute something new.

    Args:
        layer: Convolution, BatchNorm or linear layer.
        ratio: How many times as wide the layer becomes.
        inputs: Whether inputs are added.
        outputs: Whether outputs are added.
    """

    def __init__(self, layer: nn.Module, ratio: int, inputs: bool, outputs: bool) -> None:
        super().__init__()
        weight = layer.weight
        more = ratio - 1
        if inputs:
            columns = torch.zeros(weight.shape[0], more * weight.shape[1], *weight.shape[2:])
            self.columns = nn.Parameter(columns)
        if outputs:
            shape = list(weight.shape)
            shape[0] *= more
            if inputs:
                shape[1] *= ratio
            rows = torch.ones(shape)
            if weight.ndim > 1:
                nn.init.kaiming_normal_(rows, mode='fan_out', nonlinearity='relu')
            self.rows = nn.Parameter(rows)
            if layer.bias is not None:
                self.bias = nn.Parameter(torch.zeros(shape[0]))

    def widened(self, layer: nn.Module) -> dict[str, Tensor]:
        """Return the parameters of the layer, widened, by name."""
        parts = {k: v.to(layer.weight) for k, v in self._parameters.items() if v is not None}
        wide = dict(weight=widen(layer.weight, parts.get('rows'), parts.get('columns')))
        if layer.bias is not None:
            wide['bias'] = widen(layer.bias, parts.get('bias'))
        return wide


class DynamicTeacher(nn.Module):
    """A network ``ratio`` times as wide as the student, which it contains.

    The first channels of every layer are those of the student, with its very parameters; this
    module owns the others. At first both compute the same. BatchNorm always uses the statistics of
    its batch: the dynamic teacher is trained and never evaluated.

    Args:
        student: Network of plain convolutions, BatchNorm and one linear classifier, whose channels
            are only added and never mixed in another way, such as a ResNet. It is not kept.
        ratio: How many times as wide. Defaults to 2.

    Raises:
        ConfigError: It is another kind of network.
    """

    def __init__(self, student: nn.Module, ratio: int = 2) -> None:
        super().__init__()
        # Called with the parameters of the student and the growths; its own are not used.
        twin = revert_sync_batchnorm(copy.deepcopy(student)).train()
        for module in twin.modules():
            if isinstance(module, _BatchNorm):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None
            if hasattr(module, 'with_cp'):  # would recompute after the parameters are gone
                module.with_cp = False
        layers = {n: m for n, m in twin.named_modules() if any(True for _ in m.parameters(False))}
        for name, layer in layers.items():
            plain = isinstance(layer, (nn.Conv2d, _BatchNorm, nn.Linear))
            if not plain or getattr(layer, 'groups', 1) != 1:
                groups = ' with groups' if plain else ''
                raise refusal(f'{name!r} is a {type(layer).__name__}{groups}')
        first = next((n for n, m in layers.items() if isinstance(m, nn.Conv2d)), '')
        linear = [n for n, m in layers.items() if isinstance(m, nn.Linear)]
        if not first or len(linear) != 1:
            raise refusal('this one does not consist of convolutions and one linear classifier')
        self.growths = nn.ModuleDict()
        for name, layer in layers.items():
            inputs = not isinstance(layer, _BatchNorm) and name != first
            growth = Growth(layer, ratio, inputs, outputs=name != linear[0])
            self.growths[name.replace('.', '-')] = growth
        #: No child module: it is in no state dict and no optimizer.
        self.twin = [twin.to('meta')]

    def forward(
        self, student: nn.Module, inputs: Tensor, data_samples: Any, mode: str, wide: bool = True
    ) -> Any:
        """Run the dynamic teacher.

        Args:
            student: The student.
            inputs: Batch (N, 3, H, W).
            data_samples: N data samples.
            mode: ``'loss'`` or ``'tensor'``.
            wide: Use the added parameters. Defaults to True.

        Returns:
            What the student returns in this mode.
        """
        if wide:
            paths = {name.replace('-', '.'): growth for name, growth in self.growths.items()}
            parameters = {
                f'{path}.{kind}': value
                for path, growth in paths.items()
                for kind, value in growth.widened(student.get_submodule(path)).items()
            }
        else:
            parameters = {n: p for n, p in student.named_parameters() if 'distiller.' not in n}
        return functional_call(self.twin[0], parameters, (inputs, data_samples), dict(mode=mode))

    def check_start(self, student: nn.Module) -> None:
        """Raise a ConfigError unless the dynamic teacher starts as the student."""
        inputs, samples = probe_batch(student, PROBE)
        inputs = torch.randn_like(inputs)
        self.twin[0].eval()  # no dropout; BatchNorm has no statistics but those of the batch
        runs = [(student, inputs, samples, 'tensor', wide) for wide in (True, False)]
        try:
            with torch.no_grad():
                outputs = [list(flatten(self(*run))) for run in runs]
        except (RuntimeError, NotImplementedError) as error:
            raise refusal(str(error)) from error
        self.twin[0].train()
        if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(*outputs)):
            raise refusal('the wider network does not start as the student')


def refusal(why: str) -> ConfigError:
    """Return the error for a student that cannot be widened."""
    return ConfigError(
        'model.backbone',
        'GPD widens networks of plain convolutions, BatchNorm and one classifier, such as ResNets: '
        + why,
    )


@MODELS.register_module()
class GPD(Method):
    """Distill a dynamic teacher that contains the student and is trained with it.

    A trained teacher may be far better than its student. The dynamic teacher starts as the student
    and improves with it: it is ``ratio`` times as wide, the first channels of each of its layers
    are the student's own (the same parameters), and the rest belongs to the method. With the
    student's logits z_s and the dynamic teacher's z_d,

    ``L = L_task(z_s) + w · [L_task(z_d) + λ CE(t, z_s)]``, ``t = (1 - s) softmax(z_d) + s / K``

    where w is the method's weight and the student's own loss the first term. The target carries no
    gradient; the task loss of the dynamic teacher trains the shared parameters as well. With
    ``static`` both networks also learn from an ordinary teacher.

    A step costs about 1 + ``ratio``² plain ones. Checkpoints hold the plain student.

    Source: Guo et al., "Gap Preserving Distillation by Building Bidirectional Mappings with A
    Dynamic Teacher", ICLR 2025. Code: guoyongcs/GPD@e9184b1.

    Args:
        student: Tap of the logits (N, K), such as ``head.fc``.
        ratio: How many times as wide the dynamic teacher is. Defaults to 2.
        kd_weight: λ. Defaults to 3.0, as in all published commands.
        smoothing: s; 0 is the plain cross-entropy (``ce`` of the authors' code). Defaults to 0.1,
            as in all published commands (``sce``).
        static: Config of a method on the logits, such as ``dict(type='mmkd.LogitKD', …)``, by which
            student and dynamic teacher learn from the configured teacher. Defaults to None.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: this is the smallest form. The dynamic teacher is wider, but its convolutions have
    no parallel branches that are merged in the end. The added inputs start with weight 0; the
    authors expand the student's weights. They store the wide weights and multiply the student's
    slice of a convolution or linear layer by ``ratio``; here the slice is the student's weight
    itself. In front of BatchNorm the factor cancels in both networks, but with SGD it makes a step
    of the shared weights ``ratio``² times as long as here at the same learning rate. BatchNorm
    shares scale and shift with the student but not the statistics; each process has its own. Only
    networks of plain convolutions, BatchNorm and one linear layer, such as ResNets, are supported.
    """

    tasks = ('cls',)
    simulate = False  # `static` decides

    def __init__(
        self,
        student: Any,
        ratio: int = 2,
        kd_weight: float = 3.0,
        smoothing: float = 0.1,
        static: Mapping[str, Any] | None = None,
        weight: Any = 1.0,
        warmup_iters: int | None = None,
    ) -> None:
        super().__init__(dict(logits=student), weight=weight, warmup_iters=warmup_iters)
        self.ratio = integer(2, ratio=ratio)
        self.kd_weight = positive(kd_weight=kd_weight)
        self.smoothing = probability(smoothing=smoothing)
        self.static: Method | None = None
        # Task loss and tensors of the dynamic teacher in this step.
        self._outputs: tuple[Tensor, Any]
        if static is None:
            return
        self.static = build_part(static, 'static')
        taps = (self.static.student_taps, self.static.teacher_taps)
        if not all(isinstance(side, tuple) and side for side in taps):
            raise ConfigError('static', 'must be a method on the logits of student and teacher')
        self.student_taps['static'] = self.static.student_taps  # type: ignore[assignment,index]
        self.teacher_taps = self.static.teacher_taps

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the dynamic teacher and check that it starts as the student."""
        check_logits(student['logits'])
        if self.static is not None:
            with config_key('static'):
                self.static.build(model, student['static'], teacher, teachers)
            if next(self.static.parameters(), None) is not None:
                raise ConfigError(
                    'static',
                    'must be a method without parameters; they cannot fit both the student and '
                    'the wider dynamic teacher',
                )
        self.wide = DynamicTeacher(model, self.ratio)
        self.wide.check_start(model)
        self._reader = TapReader(self.wide.twin[0], dict(all_taps(self.student_taps, 'student')))

    def prepare(self, student: nn.Module, view: View) -> None:
        """Run the dynamic teacher, in the precision of the student."""
        losses, found = self._reader.read(
            self.wide.twin[0],
            view.inputs,
            view.data_samples,
            run=lambda inputs, samples: self.wide(student, inputs, samples, 'loss'),
        )
        task = [t.float().mean() for k, v in losses.items() if 'loss' in k for t in flatten(v)]
        self._outputs = torch.stack(task).sum(), gather(self.student_taps, as_fp32(found))

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``wide``, ``kd`` and the terms of ``static``, of both networks."""
        loss, wide = self._outputs
        del self._outputs  # its graph belongs to this step
        target = wide['logits'][0].detach().softmax(1)
        kd = smoothed_cross_entropy(student['logits'][0], target, self.smoothing)
        losses = dict(wide=loss, kd=self.kd_weight * kd)
        if self.static is not None:
            for side, tensors in (('static', student), ('wide_static', wide)):
                losses.update(part_losses(self.static, side, tensors['static'], teacher, view))
        return losses
