"""Known CAMs beside the search: which the grammar derives, where λ starts, and the final table."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

import sygus
from sycam import cams as cam_names
from sycam.cams import Cam
from sycam.errors import OracleError
from sycam.scoring import Failures, Scorer
from sycam.search import Incumbent, Ranking, SameHeatmap
from sycam.search.goals import Drawn
from sygus import Equivalence, Learner
from sygus.constraints import ConstraintOracle
from sygus.costs import Automaton

from .problem import CamProblem
from .result import Row


@dataclass
class Known:
    """A known CAM with its scores on the search images, whether the grammar derives it, and whether it obeys the laws."""

    cam: Cam
    values: Tensor
    derived: bool
    lawful: bool = True


def known_rows(problem: CamProblem, oracle: Scorer, laws: ConstraintOracle | None, failures: Failures) -> list[Known]:
    """Every known CAM over the grammar's terminals, scored on the search images. One that breaks a law is not derived, and one on
    which the oracle fails is left out."""
    available = {"A", *problem.terminals}
    fitting = [cam for cam in cam_names.known_cams().values() if set(cam.terminals) <= available]
    if not fitting:
        return []
    maps, finite = oracle.maps([cam.term for cam in fitting])
    values, failed = _scores(fitting, maps, oracle, failures)
    drawn = [i for i in range(len(fitting)) if bool(finite[i].all()) and i not in failed]
    rows = [Known(fitting[i], values[i], problem.derives(fitting[i])) for i in drawn]
    for row in rows:
        row.lawful = laws is None or _obeys(row.cam, problem, laws)
        row.derived = row.derived and row.lawful
    return rows


def _scores(cams: list[Cam], maps: Tensor, oracle: Scorer, failures: Failures) -> tuple[Tensor, dict[int, OracleError | None]]:
    """Scores of CAMs on all images of the oracle, and of which CAMs there are none, by their places; see `Failures.attempt`."""
    parts = len(oracle.metric.parts)

    def ask(rows: Tensor, images: Tensor) -> Tensor:
        chosen = maps[rows.to(maps.device)][:, images.to(maps.device)]
        return oracle.score(chosen, images, [cams[i].term for i in rows.tolist()])

    return failures.attempt(ask, len(cams), len(oracle), parts=parts)


def _obeys(cam: Cam, problem: CamProblem, laws: ConstraintOracle) -> bool:
    """Whether the laws are proved of a known CAM; True where it is no function of these arguments, of which they say nothing."""
    form, arguments = problem.form(cam), {v.name for v in problem.target.variables}
    if form is None or not arguments.issuperset(cam_names.terminals_of(form)):
        return True
    return laws.verdict(form).status == "lawful"


def best_known(
    known: list[Known],
    ranking: Ranking,
    problem: CamProblem,
    costs: Automaton,
    failures: Failures,
    places: Tensor | None = None,
) -> Incumbent | None:
    """λ starts as the best known CAM that the grammar derives, on the images at `places`, or all. One on which the oracle of a
    further goal fails is passed over."""
    best: Incumbent | None = None
    for row in known:
        term = problem.form(row.cam)
        cost = costs.cost(term) if row.derived and term is not None else None
        if term is None or cost is None:
            continue
        oracle = ranking.scorer
        values = row.values if places is None else row.values[places]
        score, maps = float(oracle.metric.aggregate(values)), oracle.maps([term])[0]
        outcome, _ = ranking.attempt(failures, Drawn(term, cost, score, maps), best.marks if best else None, places)
        if outcome is not None and outcome.wins:
            best = Incumbent(term, cost, row.values, score, 0, 0.0, row.cam.name, outcome.marks)
    return best


def mark_derived(
    known: list[Known], problem: CamProblem, classes: Equivalence, learner: Learner, heatmaps: SameHeatmap | None
) -> None:
    """A known CAM is derived too, though not to the letter, where a candidate is proved to have its heatmap; or where the
    enumerator met its class, if it obeys the laws."""
    inputs = set(classes.inputs)
    for row in known:
        row.derived = row.derived or (heatmaps is not None and heatmaps.met(row.cam))
        form = problem.form(row.cam)
        if row.derived or form is None or not row.lawful:
            continue
        term = sygus.expand(form)
        if {t.symbol for t in sygus.terms.subterms(term) if t.is_variable} <= inputs:
            row.derived = learner.reached(classes.representatives([term])[0])


def table_rows(
    best: Incumbent,
    problem: CamProblem,
    known: list[Known],
    oracles: list[Scorer],
    heatmaps: SameHeatmap | None,
    failures: Failures,
    single: Incumbent | None = None,
) -> tuple[list[Row], list[str]]:
    """The final table: the answer, the single term where the answer is by class, then the known CAMs, on search and held-out
    images; and warnings about failures of the oracle and an answer that draws nothing."""
    answer = Cam(problem.target.name, best.term, "synthesised")
    if best.name:
        answer = Cam(best.name, best.term, "known.sy")
    listed, kinds = [Known(answer, best.values, True)], ["answer"]
    if single is not None:
        named = f"{single.name or problem.target.name}, one term for all"
        listed.append(Known(Cam(named, single.term, "known.sy" if single.name else "synthesised"), single.values, True))
        kinds.append("single")
    listed += [k for k in known if k.cam.name != best.name]
    kinds += ["known"] * (len(listed) - len(kinds))
    held_out: Tensor | None = None
    warnings: list[str] = []
    maps, finite = oracles[-1].maps([k.cam.term for k in listed])
    if len(oracles) > 1:
        held_out, kept, warnings = _held_out(listed, maps, oracles[1], failures)
        listed, maps, finite = [listed[i] for i in kept], maps[kept], finite[kept]
        kinds = [kinds[i] for i in kept]
    twins = heatmaps.known(best.term) if heatmaps and single is None else []
    rows = [
        Row(
            k.cam, kinds[i], k.derived, k.values, held_out[i] if held_out is not None else None,
            same_heatmap=i > 0 and k.cam.name in twins, lawful=k.lawful, metric=oracles[0].metric,
        )
        for i, k in enumerate(listed)
    ]  # fmt: skip
    part, broken = ("held-out" if len(oracles) > 1 else "search"), int((~finite[0]).sum())
    empty = int((maps[0].flatten(1).amax(1) == 0).sum())
    if broken:
        warnings.append(f"the answer is NaN or infinite on {broken} of {len(finite[0])} {part} images, and draws nothing there")
    elif empty:
        warnings.append(
            f"the answer's heatmap is empty on {empty} of {len(finite[0])} {part} images: look at what the metric rewards"
        )
    return rows, warnings


def _held_out(
    listed: list[Known], maps: Tensor, oracle: Scorer, failures: Failures
) -> tuple[Tensor | None, list[int], list[str]]:
    """Scores on held-out images of the answer, which is the first, and of the known CAMs on which the oracle does not fail; the
    places of these; and warnings about the others. No scores at all where it fails on the answer, or is asked no more."""
    values, failed = _scores([k.cam for k in listed], maps, oracle, failures)
    if 0 in failed or failures.given_up is not None:
        return None, [*range(len(listed))], [f"there are no scores on held-out images: {failed.get(0) or failures.given_up}"]
    kept = [i for i in range(len(listed)) if i not in failed]
    lost = [f"{listed[i].cam.name} is left out of the table: {error}" for i, error in sorted(failed.items())]
    return values[kept], kept, lost
