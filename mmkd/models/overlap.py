"""The teacher on a CUDA stream of its own, beside the student's forward pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmkd.models.teacher import Teacher
from mmkd.taps import Tap

Result = TypeVar('Result')


class SideStream:
    """Runs something beside what follows on the current stream.

    Args:
        cuda: Streams and their functions. Defaults to ``torch.cuda``.
    """

    def __init__(self, cuda: Any = torch.cuda) -> None:
        self.cuda = cuda
        self._stream: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> SideStream:
        return SideStream(self.cuda)

    def start(self, function: Callable[[], Result], inputs: Tensor) -> Result:
        """Call a function, whose kernels run on the side stream after all that is queued now.

        Args:
            function: What to call; it must not wait for the device.
            inputs: What it reads.

        Returns:
            What it returns. Its tensors may not be read before :meth:`join`.
        """
        if self._stream is None:
            self._stream = self.cuda.Stream(device=inputs.device)
        self._stream.wait_stream(self.cuda.current_stream(inputs.device))
        with self.cuda.stream(self._stream):
            result = function()
        # Its memory is not given to others before the side stream has read it.
        inputs.record_stream(self._stream)
        return result

    def join(self, tensors: Iterable[Tensor]) -> None:
        """Make the current stream wait for the side stream.

        Args:
            tensors: Results that are read on the current stream from now on.
        """
        current = self.cuda.current_stream(self._stream.device)
        current.wait_stream(self._stream)
        for tensor in tensors:
            tensor.record_stream(current)


def run_teachers(
    teachers: Iterable[Teacher], inputs: Tensor, data_samples: Any, side: SideStream
) -> tuple[dict[Tap, list[Tensor]], list[Tensor]]:
    """Run teachers, on a stream of their own where they want it and there is one.

    Args:
        teachers: The teachers.
        inputs: Batch (N, 3, H, W).
        data_samples: N data samples.
        side: The stream.

    Returns:
        The tensors of every tap, and those of them that may be read only after ``side.join``.
    """
    read: dict[Tap, list[Tensor]] = {}
    beside: list[Tensor] = []
    for teacher in teachers:
        if teacher.overlap and not inputs.is_cuda:
            teacher.overlap = False  # said once
            print_log(
                f'{teacher.key}.overlap: needs CUDA and is ignored on {inputs.device.type}',
                logger='current',
                level=logging.WARNING,
            )
        if teacher.overlap:
            found = side.start(partial(teacher.__call__, inputs, data_samples), inputs)
            beside += [tensor for kept in found.values() for tensor in kept]
        else:
            found = teacher(inputs, data_samples)
        read.update(found)
    return read, beside
