"""DAFA: learned augmentation of the teacher's features."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import get_rank
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmkd.functional import OPERATIONS, augment, relaxed_bernoulli, relaxed_choice
from mmkd.methods.plugins import Refinement
from mmkd.registry import MODELS
from mmkd.utils import ensure, integer, non_negative, one_of, positive, progress, step_generator
from mmkd.utils.checks import probability as in_unit
from mmkd.utils.side_learner import SideLearner
from mmkd.view import View

if TYPE_CHECKING:
    from mmkd.methods.base import Method

ADAM = dict(type='Adam', lr=0.01)
# No sub-policy vanishes, and none takes over.
BOUNDS = dict(logits=(-5.0, 5.0), probability=(0.05, 0.95), magnitude=(0.0, 1.0))


class Draws:
    """The random numbers of one step; they depend on seed, iteration, rank and key alone.

    Args:
        batch: Number N of images.
        policies: Number S of sub-policies.
        key: Config key, so that two plug-ins draw different numbers.
    """

    def __init__(self, batch: int, policies: int, key: str) -> None:
        generator = step_generator(progress()[0], get_rank(), zlib.crc32(key.encode()))
        self.choice = torch.rand(batch, policies, generator=generator)
        self.applied = torch.rand(batch, policies, 2, generator=generator)
        self._seed = int(torch.randint(2**62, (), generator=generator))

    def numbers(self, level: int, slot: int, name: str, like: Tensor) -> Tensor:
        """Return an operation's numbers for the maps (N, C, H, W) of a level."""
        place = (level * 2 + slot) * len(OPERATIONS) + list(OPERATIONS).index(name)
        generator = torch.Generator(like.device).manual_seed(self._seed + place)
        return OPERATIONS[name].draw(like.shape, generator).to(like.dtype)


class Policy(nn.Module):
    """S sub-policies, each of two operations with their probabilities and magnitudes.

    Args:
        operations: Names of the operations; every two of them are a sub-policy, in this order.
        probability: First value of all probabilities β.
        magnitude: First value of all magnitudes μ.
        tau: Temperature of the choice.
    """

    def __init__(
        self, operations: Sequence[str], probability: float, magnitude: float, tau: float
    ) -> None:
        super().__init__()
        self.pairs = list(combinations(operations, 2))
        self.tau = tau
        self.logits = nn.Parameter(torch.zeros(len(self.pairs)))
        self.probability = nn.Parameter(torch.full((len(self.pairs), 2), probability))
        self.magnitude = nn.Parameter(torch.full((len(self.pairs), 2), magnitude))

    def forward(self, maps: Sequence[Tensor], draws: Draws) -> list[Tensor]:
        """Return all sub-policies' maps, mixed by a relaxed choice: ``Σ_i c_i sub_i(F)``.

        One sub-policy's maps are kept at a time; they are recomputed for the gradient.
        """
        where = maps[0]
        choice = relaxed_choice(self.logits, draws.choice.to(where), self.tau)  # (N, S)
        applied = relaxed_bernoulli(self.probability, draws.applied.to(where))  # (N, S, 2)
        mixed = []
        for level, x in enumerate(maps):
            total = torch.zeros_like(x)
            for index, pair in enumerate(self.pairs):
                numbers = [draws.numbers(level, slot, name, x) for slot, name in enumerate(pair)]
                arguments = x, pair, self.magnitude[index], applied[:, index], numbers
                total = total + checkpoint(
                    weighted_augmentation,
                    choice[:, index],
                    *arguments,
                    use_reentrant=False,
                    preserve_rng_state=False,  # nothing is random
                )
            mixed.append(total)
        return mixed

    @torch.no_grad()
    def sample(self, maps: Sequence[Tensor], draws: Draws, host: Any) -> list[Tensor]:
        """Return the maps (N, C, H, W) after one sub-policy for each image, drawn exactly.

        ``host`` is the state dict on the CPU, so that drawing waits for no device.
        """
        chosen = relaxed_choice(host['logits'], draws.choice).argmax(1)  # (N,)
        drawn = draws.applied[torch.arange(len(chosen)), chosen]  # (N, 2)
        applied = drawn > 1 - host['probability'][chosen]
        if not applied.any():
            return list(maps)
        result = [x.clone() for x in maps]
        for slot in (0, 1):
            for index, pair in enumerate(self.pairs):
                picked = ((chosen == index) & applied[:, slot]).nonzero()[:, 0]
                if not len(picked):
                    continue
                rows = picked.to(maps[0].device, non_blocking=True)
                operation = OPERATIONS[pair[slot]]
                strength = self.magnitude[index, slot] * operation.cap
                for level, x in enumerate(result):
                    numbers = draws.numbers(level, slot, pair[slot], x)[rows]
                    x[rows] = operation.apply(x[rows], strength, numbers)
        return result

    def strength(self) -> Tensor:
        """Return the mean of ``β μ``, weighted by how likely a sub-policy is: 0 changes nothing."""
        return (self.logits.softmax(0)[:, None] * self.probability * self.magnitude).sum() / 2


def weighted_augmentation(choice: Tensor, *arguments: Any) -> Tensor:
    """Return ``c_i sub_i(F)`` for a batch: a choice (N,), and the arguments of ``augment``."""
    return choice[:, None, None, None] * augment(*arguments)


@MODELS.register_module()
class DAFA(Refinement):
    """Augment the teacher's maps by a policy that is learned for the student.

    Experimental, "SoKD-style". A sub-policy i is two operations; each is applied with probability
    β and magnitude μ, ``õ(F) = b o(F; μ) + (1 - b) F``, b ~ Bernoulli(β). In every step each image
    draws one sub-policy from softmax(π), the same for all levels, and the method compares the
    student with ``F_aug = sub_i(F_t)``. In every ``every``-th step, before the student has learned
    from the batch and with the student fixed, θ = {π, β, μ} takes one step of its own optimizer
    down

    ``L_KD(F_s, F_aug(θ)) / sg(L_KD) + ρ Σ_i softmax(π)_i mean(β_i μ_i)``

    with ``F_aug = Σ_i c_i sub_i(F_t)``, c a relaxed (Gumbel-softmax) choice and b straight through.

    Source: Shen et al., "Student-Oriented Teacher Knowledge Refinement for Knowledge
    Distillation", arXiv 2409.18785, from its abstract and captions. What is in all likelihood the
    authors' code for classification: FabienCode/mdistiller@515d2c5.

    Args:
        operations: At least two of ``'gain'``, ``'noise'``, ``'drop'``, ``'cutout'``, ``'blur'``;
            see :mod:`mmkd.functional.augment`. Defaults to all.
        probability: First value of β. Defaults to 0.5.
        magnitude: First value of μ. Defaults to 0.3.
        identity: Weight ρ of the prior for no change; without it the easiest target is an empty
            map. Defaults to 0.1.
        every: Steps of the student for each of the policy. Defaults to 10.
        tau: Temperature of the relaxed choice. Defaults to 1.0.
        optimizer: Config of the policy's optimizer; None keeps the policy as it is. Defaults to
            ``dict(type='Adam', lr=0.01)``.

    Deviations: formulas and numbers are ours. The code found draws one sub-policy for the batch
    from 35 pairs of nine operations, five of them geometric, on the teacher's map of one layer; it
    takes second-order steps (DARTS) with an unbiased estimator (RELAX) on the student's own batch,
    in the first 5 to 50 epochs, and then keeps the policy. Here the upper level is the distillation
    loss with the student fixed (first order), on every ``every``-th training batch, divided by its
    own value, so that neither its scale nor the method's weight matters. There are
    no geometric operations: applied to the teacher alone they misalign the maps, applied to both
    sides they do not change a loss over locations. Removed values become the channel's mean over
    the map.
    """

    def __init__(
        self,
        operations: Sequence[str] = tuple(OPERATIONS),
        probability: float = 0.5,
        magnitude: float = 0.3,
        identity: float = 0.1,
        every: int = 10,
        tau: float = 1.0,
        optimizer: Mapping[str, Any] | None = ADAM,
    ) -> None:
        super().__init__()
        listed = operations if isinstance(operations, (list, tuple)) else ()
        names = [one_of(OPERATIONS, operations=name) for name in listed]
        distinct = len(set(names)) >= max(2, len(names))
        text = f'must be a list of at least two, none twice, got {operations!r}'
        ensure(distinct, 'operations', text)
        first = in_unit(probability=probability), in_unit(magnitude=magnitude)
        self.identity = non_negative(identity=identity)
        self.every = integer(1, every=every)
        self.trained = optimizer is not None
        self._host: dict[str, Tensor] = {}  # the policy's values on the CPU, read when needed
        policy = Policy(names, *first, positive(tau=tau))
        self.learner = SideLearner(policy, optimizer, BOUNDS if self.trained else None)

    def build(self, method: Any, model: nn.Module, student: Any, teacher: Any, view: View) -> None:
        """Check that the teacher yields maps, and that the method may run twice in a step."""
        name = type(method).__name__
        lists = isinstance(student, list) and isinstance(teacher, list) and teacher
        maps = lists and all(t.ndim == 4 for t in teacher)
        ensure(maps, '', f'{name} reads no maps (N, C, H, W) of a teacher; wrap a feature method')
        ensure(
            not self.trained or next(method.buffers(), None) is None,
            '',
            f'{name} keeps state, which the policy would update twice in a step; wrap a method '
            'without buffers, or set optimizer=None',
        )

    def forward(self, method: Method, student: Any, teacher: Any, view: View) -> list[Tensor]:
        """Return the augmented maps; the policy learns first, if its step is due."""
        policy: Any = self.learner.module
        draws = Draws(len(teacher[0]), len(policy.pairs), self.key)
        if self.trained and progress()[0] % self.every == 0:
            self.learn(method, student, teacher, view, draws)
        if not self._host:
            self._host = {name: value.cpu() for name, value in policy.state_dict().items()}
        self.monitored['policy_strength'] = policy.strength().detach()
        return policy.sample(teacher, draws, self._host)

    def learn(self, method: Method, student: Any, teacher: Any, view: View, draws: Draws) -> None:
        """Take one step of the policy."""
        augmented = self.learner(teacher, draws)
        losses = method([s.detach() for s in student], augmented, view)
        loss = torch.stack(list(losses.values())).sum()
        relative = loss / loss.detach().clamp(min=torch.finfo(loss.dtype).tiny)
        policy: Any = self.learner.module
        self.learner.step(relative + self.identity * policy.strength())
        self._host = {}

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load, and drop the copy on the CPU."""
        super()._load_from_state_dict(*args, **kwargs)
        self._host = {}
