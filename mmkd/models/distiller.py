"""The distiller: one distillation step, and everything that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.methods.base import Method, Tensors, all_taps, gather
from mmkd.mixers.base import Mixer
from mmkd.models.arguments import KEY, check_arguments, teacher_configs, unknown_teacher
from mmkd.models.first_step import FirstStep
from mmkd.models.inherit import inheritable
from mmkd.models.nonfinite import NonFiniteGuard
from mmkd.models.normalization import Renormalizer
from mmkd.models.overlap import SideStream, run_teachers
from mmkd.models.probe import probe_batch, run_probe
from mmkd.models.teacher import Teacher
from mmkd.registry import build
from mmkd.taps import Tap, TapReader, detached
from mmkd.utils import ConfigError, progress
from mmkd.view import View

# Takes a method's name, the method, its student's and teacher's tensors, and the view.
Observer = Callable[[str, Method, Tensors, Tensors, View], None]
ARGUMENTS = ('teacher', 'inherit', 'mixer', 'methods', 'probe_size', 'on_nonfinite')


class Distiller(nn.Module):
    """Teachers, mixer and methods of a student, as a child module of it.

    Its parameters (adapters) are trained with the student's. In the student's state dict it is
    invisible; ``distiller.state_dict()`` itself is complete, for resuming.

    Args:
        student: The model that is trained; it is probed but not kept.
        teacher: Arguments of :class:`~mmkd.models.teacher.Teacher`, or a dict of names to such
            arguments. Defaults to None.
        inherit: Parts of the teacher, such as ``('neck', 'bbox_head')``, of which the student
            copies every entry of equal shape before training. Defaults to ().
        mixer: Config of a batch mixer. Defaults to None.
        methods: Configs of the methods by name. Defaults to None.
        probe_size: Height and width of the small batch that measures the tapped tensors at build
            time. Defaults to (128, 128).
        on_nonfinite: What happens where a method's loss is NaN or infinite: ``'stop'``,
            ``'skip_step'`` or ``'drop_kd'``, see
            :class:`~mmkd.models.nonfinite.NonFiniteGuard`. Defaults to ``'stop'``.

    Raises:
        ConfigError: Something cannot work; the message names the config key.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Mapping[str, Any] | None = None,
        inherit: tuple[str, ...] = (),
        mixer: Mapping[str, Any] | None = None,
        methods: Mapping[str, Any] | None = None,
        probe_size: tuple[int, int] = (128, 128),
        on_nonfinite: str = 'stop',
    ) -> None:
        super().__init__()
        self.guard = NonFiniteGuard(on_nonfinite)
        self.inherit = (inherit,) if isinstance(inherit, str) else tuple(inherit)
        self.first_step: FirstStep | None = None
        #: Is shown what every active method reads, for pictures.
        self.observer: Observer | None = None
        self.probe_size = (probe_size[0], probe_size[1])
        self.methods = nn.ModuleDict()
        for name, config in (methods or {}).items():
            if 'loss' in name or '.' in name:  # the Runner sums whatever is logged as a loss
                raise ConfigError(
                    f'{KEY}.methods', f"a method's name holds no dot and no 'loss', unlike {name!r}"
                )
            method = build(config, Method, f'{KEY}.methods.{name}')
            method.configure(f'{KEY}.methods.{name}')
            self.methods[name] = method
        self.mixer = build(mixer, Mixer, f'{KEY}.mixer') if mixer else None
        if self.mixer is not None:
            head = getattr(student, 'head', None)
            if self.mixer.soft_labels and getattr(head, 'cal_acc', False):
                raise ConfigError(
                    'model.head.cal_acc',
                    'this mixer gives soft labels, of which mmpretrain cannot tell the training '
                    'accuracy: set it to False',
                )
            self.mixer.num_classes = self.mixer.num_classes or getattr(head, 'num_classes', None)
        self.teachers = {
            name: Teacher(**check_arguments(config, key), key=key)
            for name, config, key in teacher_configs(teacher)
        }
        # As they were loaded: later they may be fused, or of less precision.
        self._inheritable = inheritable(self.inherit, self.teachers, student)
        self._side = SideStream()
        self._open_taps(student)
        if self.mixer is not None:
            self.mixer.build(student, self.teachers, self.probe_size)
        self._register_state_dict_hook(hide_entries)

    def _open_taps(self, student: nn.Module) -> None:
        """Resolve all taps, run a small batch through them and build the methods."""
        student_taps: dict[Tap, str] = {}
        teacher_taps: dict[str, dict[Tap, str]] = {name: {} for name in self.teachers}
        for name, method in self.methods.items():
            key = f'{KEY}.methods.{name}'
            student_taps.update(all_taps(method.student_taps, f'{key}.student'))
            for tap, tap_key in all_taps(method.teacher_taps, f'{key}.teacher'):
                if tap.model not in self.teachers:
                    raise ConfigError(tap_key, unknown_teacher(tap, self.teachers))
                teacher_taps[tap.model][tap] = tap_key
        self.reader = TapReader(student, student_taps)
        inputs, samples = probe_batch(student, self.probe_size)
        read_student = run_probe(student, self.reader, inputs, samples) if student_taps else {}
        read_teacher: dict[Tap, list[Tensor]] = {}
        for name, teacher in self.teachers.items():
            preprocessors = [
                getattr(model, 'data_preprocessor', None) for model in (student, teacher.model)
            ]
            if None not in preprocessors:
                teacher.renormalize = Renormalizer.between(*preprocessors)
            teacher.open_taps(teacher_taps[name])
            if teacher_taps[name]:
                read_teacher.update(teacher.probe(inputs, samples))
        self.shapes = {
            'student': {tap: [tuple(t.shape) for t in kept] for tap, kept in read_student.items()},
            'teacher': {tap: [tuple(t.shape) for t in kept] for tap, kept in read_teacher.items()},
        }
        view = View.plain(inputs, samples)
        for method in self.methods.values():
            tapped = gather(method.student_taps, read_student)
            read = gather(method.teacher_taps, read_teacher)
            method.build(tapped, read, self.teachers)
            method.build_plugins(student, tapped, read, view)
            method.check(student, self.mixer)
            if method.schedule.value == 0:  # never used: not even zeros among the gradients,
                method.requires_grad_(False)  # which would round a clipped norm differently

    def weights(self) -> dict[str, float]:
        """Return the weight of every method at the current iteration."""
        iteration, max_iters = progress()
        return {
            name: method.schedule.at(iteration, max_iters) for name, method in self.methods.items()
        }

    @torch.compiler.disable  # its hooks and decisions are none of a compiler's business
    def step(
        self,
        student: nn.Module,
        loss: Callable[[Tensor, Any], dict[str, Any]],
        inputs: Tensor,
        data_samples: Any,
    ) -> dict[str, Any]:
        """Perform one training step.

        Args:
            student: The student.
            loss: Its own loss function.
            inputs: Batch (N, 3, H, W) of the student's data preprocessor.
            data_samples: N data samples.

        Returns:
            The student's losses and those of the methods, weighted, as
            ``distill.<method>.loss_<term>``.
        """
        weights = self.weights()
        active = {name: m for name, m in self.methods.items() if weights[name] != 0}
        if self.methods and not active:
            return {**loss(inputs, data_samples), **self._unused(active)}
        self.guard.remember(student)
        view = View.plain(inputs, data_samples)
        if self.mixer is not None:
            self.mixer.learn(student, inputs, data_samples, progress()[0])
            view = self.mixer.mix(inputs, data_samples, progress()[0])
        read, beside = self._read_teachers(active, view)
        for method in active.values():
            method.prepare(student, view)
        with self.reader.open(student):
            losses = loss(view.inputs, view.data_samples)
        if beside:
            self._side.join(beside)
        tapped = {tap: [t.float() for t in kept] for tap, kept in self.reader.take().items()}
        terms = {}
        # Logarithms, deviations and softmax over maps overflow or vanish in half precision.
        with torch.autocast(inputs.device.type, enabled=False):
            for name, method in active.items():
                student_tensors = gather(method.student_taps, tapped)
                teacher_tensors = gather(method.teacher_taps, read)
                if self.observer is not None:
                    self.observer(name, method, student_tensors, teacher_tensors, view)
                for term, value in method.run(student_tensors, teacher_tensors, view).items():
                    terms[name, term] = value
            faulty = self.guard.faulty(terms)
            if faulty is not None:
                bad = {name: active.pop(name) for name in faulty}
                self.guard.handle(bad, losses, terms, tapped, read, view)
                if self.guard.skipped:
                    return self.guard.nothing(student)
                terms = {key: value for key, value in terms.items() if key[0] in active}
            if faulty is None and self.first_step is not None and not self.first_step.done:
                growing = [name for name, m in active.items() if m.grows]
                self.first_step.growing = tuple(f'distill.{name}.' for name in growing)
                self.first_step.observe(student, losses, terms, weights, tapped, read)
        weighted = {
            f'distill.{name}.loss_{term}': value * weights[name]
            for (name, term), value in terms.items()
        }
        monitored = {
            f'distill.{name}.{item}': value.detach()
            for name, method in active.items()
            for item, value in method.monitored.items()
        }
        if self.mixer is not None:
            monitored.update({f'mixer.{k}': v for k, v in self.mixer.monitored.items()})
        return {**losses, **weighted, **monitored, **self._unused(active)}

    def _read_teachers(
        self, active: Mapping[str, Method], view: View
    ) -> tuple[dict[Tap, list[Tensor]], list[Tensor]]:
        """Run the teachers that the methods read; see :func:`~mmkd.models.overlap.run_teachers`."""
        names = {tap.model for m in active.values() for tap, _ in all_taps(m.teacher_taps, '')}
        teachers = [self.teachers[name] for name in names]
        return run_teachers(teachers, view.teacher_inputs, view.teacher_samples, self._side)

    @torch.no_grad()
    def look(self, student: nn.Module, inputs: Tensor, data_samples: Any) -> None:
        """Show the observer what the methods see of unlabelled images, without training.

        Args:
            student: The student, in evaluation mode.
            inputs: Batch (N, 3, H, W) of the student's data preprocessor.
            data_samples: N data samples with the images' meta information.
        """
        assert self.observer is not None
        view = View.plain(inputs, data_samples)
        methods = dict(self.methods.items())
        read, beside = self._read_teachers(methods, view)
        if beside:
            self._side.join(beside)
        with self.reader.open(student):
            student(inputs, data_samples, mode='tensor')
        tapped = detached(self.reader.take())
        for name, method in methods.items():
            student_tensors = gather(method.student_taps, tapped)
            self.observer(name, method, student_tensors, gather(method.teacher_taps, read), view)

    def _unused(self, active: Mapping[str, Method]) -> dict[str, Tensor]:
        """Return zeros that keep the parameters of skipped methods in the graph, for DDP."""
        zeros = {name: m.unused() for name, m in self.methods.items() if name not in active}
        return {
            f'distill.{name}.loss_off': zero for name, zero in zeros.items() if zero is not None
        }

    @torch.no_grad()
    def inherit_weights(self, student: nn.Module) -> None:
        """Copy the parts named by ``inherit`` from the (first) teacher."""
        state = student.state_dict()
        for part, entries in self._inheritable.items():
            for name, value in entries.items():
                state[name].copy_(value)
            if self.first_step is not None:
                whole = sum(name.startswith(part + '.') for name in state)
                self.first_step.notes.append(
                    f'inherited {len(entries)} of {whole} entries of {part} from the teacher'
                )

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Move the teachers with the student; their precision stays their own."""
        result = super()._apply(fn, *args, **kwargs)
        for teacher in self.teachers.values():
            here = next(teacher.model.parameters()).device
            teacher.to(fn(torch.empty(0, device=here)).device)
        return result

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Fill in this module's entries where a student's own state dict is loaded."""
        if prefix:
            for name, value in self.state_dict().items():
                state_dict.setdefault(prefix + name, value)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def hide_entries(module: nn.Module, state_dict: Any, prefix: str, metadata: Any) -> None:
    """Remove the distiller's entries from the state dict of a model that contains it.

    A state-dict hook, because mmengine's own ``get_state_dict`` calls hooks and not overrides.
    """
    if not prefix:  # the distiller's own state dict, for resuming
        return
    for name in [k for k in state_dict if k.startswith(prefix)]:
        del state_dict[name]
    known = getattr(state_dict, '_metadata', {})
    for name in [k for k in known if k == prefix[:-1] or k.startswith(prefix)]:
        del known[name]
