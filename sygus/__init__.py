"""SyGuS-IF files, typed terms, enumeration and equivalence. No torch, and nothing of CAMs.

>>> import sygus
>>> problem = sygus.read('''(set-logic NRA)
...   (synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 1.0 (+ R R) (/ R R)))))
...   (check-synth)''')
>>> with sygus.Solver() as solver:
...     classes = sygus.Equivalence(sygus.Context(), list(problem.target().variables), solver)
...     [str(found.term) for found in sygus.Enumerator(problem.target().grammar, classes, limit=3)]
['x', '1.0', '(+ x x)', '(+ x 1.0)', '(+ 1.0 1.0)', '(/ x x)', '(/ 1.0 x)']
"""

from .counting import Counts, count
from .equivalence.classes import Equivalence, Merge, Undecided
from .equivalence.proportional import Proportional
from .errors import Place, SygusError
from .grammar import Grammar, Production
from .language.problem import Problem, Target
from .language.reader import read, read_file, read_term
from .learners.bottom_up.enumerator import Enumerator
from .learners.findsynth import FindSynth
from .learners.learner import LEARNERS, Candidate, Distinct, Learner, Listed, learner, learner_class, register_learner
from .learners.uniform import Uniform
from .semantics.interpret import Context, Input, assumptions
from .solver.process import Solver
from .terms import BOOL, INT, REAL, Function, Sort, Term, Variable, define_fun, expand, to_text
from .theory import CORE, Operator, Theory

__all__ = [
    "BOOL", "CORE", "INT", "LEARNERS", "REAL", "Candidate", "Context", "Counts", "Distinct", "Enumerator", "Equivalence",
    "FindSynth", "Function", "Grammar", "Input", "Learner", "Listed", "Merge", "Operator", "Place", "Problem", "Production",
    "Proportional", "Solver", "Sort", "SygusError", "Target", "Term", "Theory", "Undecided", "Uniform", "Variable",
    "assumptions", "count", "define_fun", "expand", "learner", "learner_class", "read", "read_file", "read_term",
    "register_learner", "to_text",
]  # fmt: skip
