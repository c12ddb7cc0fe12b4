"""Constraints on the function to synthesise: laws, each proved of a candidate or broken at a counterexample."""

from .arguments import check_laws, still_assumed
from .counterexample import Counterexample
from .law import Law, laws
from .oracle import ConstraintOracle, Verdict

__all__ = ["ConstraintOracle", "Counterexample", "Law", "Verdict", "check_laws", "laws", "still_assumed"]
