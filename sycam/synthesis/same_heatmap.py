"""Candidates that are proved to draw one heatmap: their contributions are proportional, with one positive factor for all channels
and pixels, which ReLU and min-max take out again.

The relation holds between whole candidates only. Inside a term nothing is replaced by it, and the learner builds on with all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sycam.cams import Cam, contribution
from sygus import Equivalence, Merge, Proportional, Term, Undecided


class SameHeatmap:
    """The classes of candidates, and of known CAMs, that are proved to draw one heatmap on every image.

    Args:
        equivalence: context, points and solver of the run; its inputs must hold A.
        known: CAMs to recognise among the candidates, over the terminals of the run.
        on_proof, on_undecided: told of each pair, for the journal.

    Attributes:
        classes: the relation, with its counts and undecided pairs.

    >>> from sycam.cams import cam_from_text, find_cam, find_grammar
    >>> from sycam.synthesis.problem import read_problem
    >>> from sygus import Solver
    >>> problem = read_problem(find_grammar("gradient"))
    >>> with Solver() as solver:
    ...     same = SameHeatmap(Equivalence(problem.context(), problem.inputs(), solver), [find_cam("gradcam")])
    ...     twice, other = (cam_from_text(text).term for text in ("(* 2.0 (gap G))", "(gap A)"))
    ...     same.classify([twice, other])
    ...     same.known(twice), same.known(other), same.earlier(twice)
    (['Grad-CAM'], [], None)
    >>> same.stands(twice, 7)
    >>> same.earlier(cam_from_text("(gap G)").term)
    7
    """

    def __init__(
        self,
        equivalence: Equivalence,
        known: Iterable[Cam] = (),
        on_proof: Callable[[Merge], None] | None = None,
        on_undecided: Callable[[Undecided], None] | None = None,
    ) -> None:
        self.classes = Proportional(equivalence, contribution, on_proof, on_undecided)
        self._numbers: dict[Term, int] = {}
        cams = list(known)
        found = self.classes.representatives([cam.term for cam in cams])
        self._known = {cam.name: representative for cam, representative in zip(cams, found, strict=True)}

    def classify(self, candidates: Sequence[Term]) -> None:
        """Finds the classes of candidates, all at once; to be asked about them is cheap afterwards."""
        self.classes.representatives(candidates)

    def earlier(self, candidate: Term) -> int | None:
        """The number of the candidate that stands for the heatmap of this one, or None where none does yet."""
        return self._numbers.get(self._class(candidate))

    def stands(self, candidate: Term, number: int) -> None:
        """This candidate was drawn: it stands for all that have its heatmap."""
        self._numbers[self._class(candidate)] = number

    def known(self, candidate: Term) -> list[str]:
        """The known CAMs that are proved to have the heatmap of a term."""
        own = self._class(candidate)
        return [name for name, representative in self._known.items() if representative is own]

    def met(self, cam: Cam) -> bool:
        """Whether a candidate was drawn that is proved to have the heatmap of a known CAM."""
        return self._class(cam.term) in self._numbers

    def _class(self, term: Term) -> Term:
        return self.classes.representatives([term])[0]
