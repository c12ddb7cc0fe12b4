"""Terminals: what a CNN and an image give a grammar's leaves. Each is a registered function in a file of this folder."""

from sycam.job import TerminalSettings
from sycam.terminals.terminal import TERMINALS, Terminal, View, register_terminal, terminal

__all__ = ["TERMINALS", "Terminal", "TerminalSettings", "View", "register_terminal", "terminal"]
