"""Terminals: what a CNN and an image give a grammar's leaves. Importing the package registers those below."""

# isort: off  (in the order in which people want to see them)
from sycam.terminals import deeplift, gradients, head, masking, noise, opti, relevance, shapley

# isort: on
from sycam.terminals.registry import TERMINALS, Terminal, register_terminal, terminal
from sycam.terminals.settings import TerminalSettings
from sycam.terminals.view import View

__all__ = [
    "TERMINALS", "Terminal", "TerminalSettings", "View", "deeplift", "gradients", "head", "masking", "noise", "opti",
    "register_terminal", "relevance", "shapley", "terminal",
]  # fmt: skip
