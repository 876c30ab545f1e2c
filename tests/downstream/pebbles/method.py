"""A method of its own."""

from mmkd.methods import Method
from pebbles.registry import MODELS


@MODELS.register_module()
class Edges(Method):
    """Pull the differences of neighboring cells of a map towards the teacher's."""

    def build(self, model, student, teacher, teachers):
        self.adapters = self.build_adapters(student, teacher)

    def forward(self, student, teacher, view):
        total = student[0].new_zeros(())
        for s, t in self.compared(student, teacher, view):
            for axis in (2, 3):
                total = total + (s.diff(dim=axis) - t.diff(dim=axis)).abs().mean()
        return dict(edges=total)
