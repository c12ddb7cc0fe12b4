"""Constraints on the function to synthesise: laws, each proved of a candidate or broken at a counterexample."""

from .hypotheses import still_assumed
from .law import Law, check_laws, laws
from .oracle import ConstraintOracle, Verdict

__all__ = ["ConstraintOracle", "Law", "Verdict", "check_laws", "laws", "still_assumed"]
