"""Terminals: what a CNN and an image give a grammar's leaves. Importing the package registers those below."""

from sycam.terminals import gradients, head, masking
from sycam.terminals.registry import TERMINALS, Terminal, register_terminal, terminal
from sycam.terminals.view import View

__all__ = ["TERMINALS", "Terminal", "View", "gradients", "head", "masking", "register_terminal", "terminal"]
