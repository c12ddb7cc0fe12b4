"""Terminals on disk: computed once for a model, a layer and an image, and found again by content.

A store is a folder of immutable safetensors files, which are mapped, never loaded whole. There is no index beside them that could
disagree: each file says what it holds, is written under another name, and renamed when it is complete.
"""

from .store import Shelf, Stored, TerminalStore, default_folder, default_limit

__all__ = ["Shelf", "Stored", "TerminalStore", "default_folder", "default_limit"]
