"""Terminals: what a CNN and an image give a grammar's leaves. Importing the package registers those below."""

# In the order in which people want to see them listed.
# isort: off
from sycam.terminals import gradients, head, masking, deeplift, shapley, opti, noise, relevance

# isort: on
from sycam.job import TerminalSettings
from sycam.terminals.registry import TERMINALS, Terminal, register_terminal, terminal
from sycam.terminals.view import View

__all__ = [
    "TERMINALS", "Terminal", "TerminalSettings", "View", "deeplift", "gradients", "head", "masking", "noise", "opti",
    "register_terminal", "relevance", "shapley", "terminal",
]  # fmt: skip
