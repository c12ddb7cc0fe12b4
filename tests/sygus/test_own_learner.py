"""A learner is one file: what others need to know of it, it says itself, and it hears of scores."""

import importlib.util
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from setting import grammar

import sygus
from sygus import LEARNERS, Equivalence, SygusError, learner, learner_class
from sygus.learners.learner import Candidate, Learner

FILE = '''
"""The terms of cvc5's stream, the last of each five first; told of a term with a score, it begins with that."""
from itertools import islice

from sygus import Candidate, FindSynth, Learner, register_learner


@register_learner("five-back")
class FiveBack(Learner):
    learns_from_scores = True

    def __init__(self, grammar, limit):
        self.stream, self.first = FindSynth(grammar, limit), []

    @classmethod
    def make(cls, grammar, limit, equivalence, seed):
        return cls(grammar, limit)

    def __iter__(self):
        yield from self.first
        stream = iter(self.stream)
        while five := list(islice(stream, 5)):
            yield from reversed(five)

    def learn(self, tried):
        self.first += [Candidate(t.term, t.term.size) for t in tried if t.status == "accepted"]
'''
USE = """
import sygus
from sygus import LEARNERS, Context, Equivalence, Solver, learner, read
target = read("(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 1.0 (+ R R)))))(check-synth)").target()
print(sorted(LEARNERS))
print([str(c.term) for c in learner("five-back", target.grammar, 3)])
with Solver() as solver:
    classes = Equivalence(Context(), list(target.variables), solver)
    print([str(c.term) for c in learner("five-back", target.grammar, 3, equivalence=classes)])
"""


def test_a_file_in_the_folder_is_a_learner_and_nothing_else_is_touched(tmp_path):
    shutil.copytree(Path(sygus.__file__).parent, tmp_path / "sygus", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sygus" / "learners" / "five_back.py").write_text(FILE)
    done = subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, env={"PYTHONPATH": "."}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names, stream, classes = map(eval, done.stdout.splitlines())
    assert names == ["bottom-up", "cvc5", "five-back", "uniform"]
    assert stream[:2] == ["(+ 1.0 1.0)", "(+ x 1.0)"] and len(stream) == 5
    assert sorted(classes) == sorted(stream)


@pytest.fixture
def own(tmp_path):
    """A learner of one's own, in a file anywhere."""
    path = tmp_path / "five_back.py"
    path.write_text(FILE)
    spec = importlib.util.spec_from_file_location("five_back", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.FiveBack
    del LEARNERS["five-back"]


def test_a_file_elsewhere_registers_its_learner_once_it_is_imported(own, solver):
    problem, context = grammar("gradient")
    assert learner_class("five-back") is own and not own.in_order_of_cost and own.learns_from_scores
    found = [*islice(learner("five-back", problem.grammar, 4), 10)]
    assert [c.term for c in found[:5]] == [c.term for c in islice(learner("cvc5", problem.grammar, 4), 5)][::-1]
    classes = Equivalence(context, list(problem.variables), solver)
    of_classes = [*islice(learner("five-back", problem.grammar, 4, equivalence=classes), 5)]
    assert of_classes == [c for c in found if c in of_classes], "the first of each class, in the order of the stream"
    assert len(set(classes.representatives([c.term for c in of_classes]))) == 5


def test_a_learner_of_classes_hears_of_scores_through_the_wrapper(own, solver):
    problem, context = grammar("gradient")
    classes = Equivalence(context, list(problem.variables), solver)
    by_class = learner("five-back", problem.grammar, 4, equivalence=classes)
    assert by_class.learns_from_scores and not by_class.in_order_of_cost
    last = [*islice(by_class, 20)][-1]
    tried = [SimpleNamespace(term=last.term, status="accepted", score=0.5), SimpleNamespace(term=None, status="x", score=None)]
    by_class.learn(tried)
    assert next(iter(by_class)).term is last.term


def test_two_learners_of_one_name_are_refused(own):
    with pytest.raises(SygusError, match="there is already a learner 'five-back'"):
        sygus.register_learner("five-back")(type("Another", (Learner,), {}))
    with pytest.raises(SygusError, match="no learner 'five-bakc'; did you mean 'five-back'"):
        learner("five-bakc", None, 3)


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_what_a_learner_says_of_its_order_is_so_and_scores_change_nothing_where_it_does_not_learn(name, solver):
    problem, context = grammar("gradient")

    def fresh() -> Learner:
        classes = Equivalence(context, list(problem.variables), solver)
        return learner(name, problem.grammar, 5, equivalence=classes, seed=3)

    made = fresh()
    first = [*islice(made, 40)]
    assert made.name == name and made.in_order_of_cost == learner_class(name).in_order_of_cost
    assert {c.cost for c in first} == {5} if made.only_at_limit else max(c.cost for c in first) <= 5
    if made.in_order_of_cost:
        assert [c.cost for c in first] == sorted(c.cost for c in first)
    assert not made.learns_from_scores
    made.learn([SimpleNamespace(term=c.term, status="rejected", score=0.1) for c in first])
    assert [*map(str, islice(made, 40))] == [*map(str, islice(fresh(), 40))] == [*map(str, first)]
    assert all(isinstance(c, Candidate) for c in first)
