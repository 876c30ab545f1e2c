"""The distiller: one distillation step, and everything that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.methods.base import Method, all_taps
from mmkd.methods.plugins import build_method
from mmkd.mixers.base import Mixer
from mmkd.models.combination import check_combination, unknown_teacher
from mmkd.models.first_step import FirstStep
from mmkd.models.inherit import copy_parts, inheritable, parse_parts
from mmkd.models.nonfinite import NonFiniteGuard
from mmkd.models.normalization import Renormalizer
from mmkd.models.speed import TeacherStream
from mmkd.models.step import Step
from mmkd.models.task_loss import run_student
from mmkd.models.teacher import KEY, build_teachers
from mmkd.probe import Size, probe, run_probe
from mmkd.registry import build
from mmkd.taps import Tap, TapReader, as_fp32
from mmkd.utils import ConfigError, config_key, count_classes, log_warning, progress
from mmkd.view import View

# Takes the record of a step, before any loss is computed, and the active methods.
Recorder = Callable[[Step, Mapping[str, Method]], None]
ARGUMENTS = ('teacher', 'inherit', 'mixer', 'methods', 'probe_size', 'on_nonfinite')


class Distiller(nn.Module):
    """Teachers, mixer and methods of a student, as a child module of it.

    Its parameters (adapters) are trained with the student's. It is hidden from the student's state
    dict; ``distiller.state_dict()`` itself is complete, for resuming.

    Args:
        student: The model that is trained; it is probed but not kept.
        teacher: Arguments of :class:`~mmkd.models.teacher.Teacher`, or a dict of names to such
            arguments. Defaults to None.
        inherit: Parts of the teacher, such as ``('neck', 'bbox_head')``, of which the student
            copies every entry of equal shape before training. Defaults to ().
        mixer: Config of a batch mixer. Defaults to None.
        methods: Configs of the methods by name; None drops one. Defaults to None.
        probe_size: Height and width of the small batch that measures the tapped tensors at build
            time. Defaults to None: found out, see :mod:`mmkd.probe`.
        on_nonfinite: What happens where a method's loss is NaN or infinite: ``'stop'``,
            ``'skip_step'`` or ``'drop_kd'``, see
            :class:`~mmkd.models.nonfinite.NonFiniteGuard`. Defaults to ``'stop'``.

    Raises:
        ConfigError: A config value is invalid; the message names the config key.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Mapping[str, Any] | None = None,
        inherit: tuple[str, ...] = (),
        mixer: Mapping[str, Any] | None = None,
        methods: Mapping[str, Any] | None = None,
        probe_size: tuple[int, int] | None = None,
        on_nonfinite: str = 'stop',
    ) -> None:
        super().__init__()
        with config_key(KEY):
            self.guard = NonFiniteGuard(on_nonfinite)
        self.inherit = parse_parts(inherit)
        self.first_step: FirstStep | None = None
        #: Whether DistillHook serves this run.
        self.hooked = False
        #: Receives every step before its losses are computed, for pictures.
        self.recorder: Recorder | None = None
        self.methods = nn.ModuleDict()
        if not isinstance(methods or {}, Mapping):
            raise ConfigError(
                f'{KEY}.methods', f'must be a dict of methods by name, got {methods!r}'
            )
        for name, config in (methods or {}).items():
            if config is None:  # drops the method of an inherited config
                continue
            if 'loss' in name or '.' in name:  # the Runner sums whatever is logged as a loss
                raise ConfigError(
                    f'{KEY}.methods',
                    f"a method's name must contain neither a dot nor 'loss', got {name!r}",
                )
            self.methods[name] = build_method(config, f'{KEY}.methods.{name}')
        self.mixer = build(mixer, Mixer, f'{KEY}.mixer') if mixer else None
        check_combination(student, self.mixer, self.methods)
        if self.mixer is not None:
            self.mixer.num_classes = self.mixer.num_classes or count_classes(student)
        self.teachers = build_teachers(teacher)
        # As they were loaded: later they may be fused, or of lower precision.
        self._inheritable = inheritable(self.inherit, self.teachers, student)
        self._stream = TeacherStream()
        self.probe_size = self._build_methods(student, probe_size)
        if self.mixer is not None:
            with config_key(f'{KEY}.mixer'):
                self.mixer.build(student, self.teachers, self.probe_size)
        self._unchecked = set(self.methods)  # methods that have not taken their first step

    def _build_methods(self, student: nn.Module, size: Size | None) -> Size:
        """Resolve all taps, measure them on a probe batch, build the methods; return its size."""
        student_taps: dict[Tap, str] = {}
        teacher_taps: dict[str, dict[Tap, str]] = {name: {} for name in self.teachers}
        for name, method in self.methods.items():
            key = f'{KEY}.methods.{name}'
            student_taps.update(all_taps(method.student_taps, f'{key}.student'))
            for tap, tap_key in all_taps(method.teacher_taps, f'{key}.teacher'):
                if tap.model not in self.teachers:
                    raise ConfigError(tap_key, unknown_teacher(tap, self.teachers))
                teacher_taps[tap.model][tap] = tap_key
            with config_key(key):
                method.check_models(student, self.teachers)
        self.reader = TapReader(student, student_taps)
        for name, teacher in self.teachers.items():
            preprocessors = [
                getattr(model, 'data_preprocessor', None) for model in (student, teacher.model)
            ]
            if None not in preprocessors:
                teacher.renormalize = Renormalizer.between(*preprocessors)
            teacher.open_taps(teacher_taps[name])
        used = [self.teachers[name] for name, taps in teacher_taps.items() if taps]

        def run(*batch: Any) -> Step:
            features = run_probe(student, self.reader, *batch) if student_taps else {}
            targets = {tap: t for one in used for tap, t in one.probe(*batch).items()}
            return Step(View.plain(*batch[:2]), {}, features, targets)

        size, probed = probe([student, *(teacher.model for teacher in used)], size, run)
        for teacher in used:
            teacher.speed_up()
        self.shapes = {
            side: {tap: [tuple(t.shape) for t in kept] for tap, kept in found.items()}
            for side, found in (('student', probed.student), ('teacher', probed.teacher))
        }
        for name, method in self.methods.items():
            with config_key(f'{KEY}.methods.{name}'):
                method.build(student, *probed.tensors(method), self.teachers)
            if method.schedule.value == 0:
                # Never used. Without any gradient, not even zeros, a clipped norm stays the same
                # to the last bit.
                method.requires_grad_(False)
        return size

    def weights(self) -> dict[str, float]:
        """Return the weight of every method at the current iteration."""
        iteration, max_iters = progress()
        return {
            name: method.schedule.at(iteration, max_iters) for name, method in self.methods.items()
        }

    @torch.compiler.disable  # hooks and data-dependent control flow cannot be compiled
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

        Raises:
            ConfigError: The data or the method do not fit.
            NonFiniteError: See :class:`~mmkd.models.nonfinite.NonFiniteGuard`.
        """
        if not self.hooked and progress()[1] is not None:  # in a Runner
            self.hooked = True  # says it once
            log_warning(
                'default_hooks.distill is missing: without DistillHook there is no report of the '
                'first step, and checkpoints hold neither adapters nor state to resume from; add '
                "distill=dict(type='mmkd.DistillHook')"
            )
        weights = self.weights()
        active = {name: m for name, m in self.methods.items() if weights[name] != 0}
        if self.methods and not active:
            return {**loss(inputs, data_samples), **self._zero_losses(active)}
        self.guard.save_buffers(student)
        view = clean = View.plain(inputs, data_samples)
        if self.mixer is not None:
            with config_key(f'{KEY}.mixer'):
                self.mixer.learn(student, inputs, data_samples, progress()[0])
                view = self.mixer.mix(inputs, data_samples, progress()[0])
                self.mixer.watch(view)
        teacher_features = self._run_teachers(active, view)
        for name, method in active.items():
            with config_key(f'{KEY}.methods.{name}'):
                method.prepare(student, view)
        task_on = getattr(self.mixer, 'task_on', 'mixed')
        losses, student_features = run_student(student, loss, self.reader, view, clean, task_on)
        self._stream.join()
        step = Step(view, weights, as_fp32(student_features), teacher_features, losses)
        # Logarithms, deviations and softmax over maps overflow or vanish in half precision.
        with torch.autocast(inputs.device.type, enabled=False):
            if self.recorder is not None:
                self.recorder(step, active)
            for name, method in active.items():
                self._compute(step, name, method)
            faulty = self.guard.check(step, active)
            if self.guard.skipped:
                return self.guard.zero_loss(student)
            active = {name: m for name, m in active.items() if name not in (faulty or ())}
            if faulty is None and self.first_step is not None and not self.first_step.done:
                self.first_step.observe(student, step, active)
        weighted = {
            f'distill.{name}.loss_{term}': value * weights[name]
            for (name, term), value in step.terms.items()
            if name in active
        }
        monitored = {
            f'distill.{name}.{item}': value.detach()
            for name, method in active.items()
            for item, value in method.monitored.items()
        }
        if self.mixer is not None:
            monitored.update({f'mixer.{k}': v for k, v in self.mixer.monitored.items()})
        return {**losses, **weighted, **monitored, **self._zero_losses(active)}

    def _compute(self, step: Step, name: str, method: Method) -> None:
        """Add a method's losses to a step; its first step is checked."""
        with config_key(f'{KEY}.methods.{name}'):
            if name in self._unchecked:
                step.compute_checked(name, method)
                self._unchecked.discard(name)
            else:
                step.compute(name, method)

    def _run_teachers(self, active: Mapping[str, Method], view: View) -> dict[Tap, list[Tensor]]:
        """Run the teachers that the methods read, some of them on a stream of their own."""
        features: dict[Tap, list[Tensor]] = {}
        names = {tap.model for m in active.values() for tap, _ in all_taps(m.teacher_taps, '')}
        for name in sorted(names):
            teacher = self.teachers[name]
            features.update(self._stream.run(teacher, view.teacher_inputs, view.teacher_samples))
        return features

    @torch.no_grad()
    def visualize(self, student: nn.Module, inputs: Tensor, data_samples: Any) -> None:
        """Give the recorder a step of unlabeled images, without training.

        Args:
            student: The student, in evaluation mode.
            inputs: Batch (N, 3, H, W) of the student's data preprocessor.
            data_samples: N data samples with the images' meta information.
        """
        assert self.recorder is not None
        methods = dict(self.methods.items())
        view = View.plain(inputs, data_samples)
        teacher_features = self._run_teachers(methods, view)
        self._stream.join()
        _, student_features = self.reader.read(student, inputs, data_samples)
        student_features = as_fp32(student_features, detach=True)
        self.recorder(Step(view, {}, student_features, teacher_features), methods)

    def _zero_losses(self, active: Mapping[str, Method]) -> dict[str, Tensor]:
        """Return zeros that keep the parameters of skipped methods in the graph, for DDP."""
        zeros = {name: m.zero_loss() for name, m in self.methods.items() if name not in active}
        return {
            f'distill.{name}.loss_off': zero for name, zero in zeros.items() if zero is not None
        }

    @torch.no_grad()
    def inherit_weights(self, student: nn.Module) -> None:
        """Copy the parts named by ``inherit`` from the (first) teacher, once."""
        notes = copy_parts(student, self._inheritable)
        if self.first_step is not None:
            self.first_step.notes += notes
        self._inheritable = {}  # or the teacher's fp32 weights would stay in memory

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
