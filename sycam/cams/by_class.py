"""One term with a part for each image class: `ite` on the terminal c, the class that is explained."""

from __future__ import annotations

from collections.abc import Mapping

from sygus import BOOL, INT, Function, Term
from sygus.core import core_function
from sygus.terms import Literal, fold, subterms

from .cam import contribution, terminal_variable


def by_class(parts: Mapping[int, Term], otherwise: Term) -> Term:
    """The term that is `parts[n]` where image class n is explained, and `otherwise` elsewhere.

    Classes with the same term share a branch, and those with the term `otherwise` need none. Where some terms are weights and
    others are contributions, weights become the contributions that draw the same heatmap.

    Args:
        parts: image class to a term of sort Real (channel weights) or Map (contributions).
        otherwise: for every other class.

    >>> from sycam.cams import find_cam
    >>> gradcam, layercam = (find_cam(name).term for name in ("Grad-CAM", "LayerCAM"))
    >>> print(by_class({3: gradcam, 5: gradcam}, find_cam("(gap A)").term))
    (ite (or (= c 3) (= c 5)) (gap G) (gap A))
    >>> print(by_class({3: layercam}, gradcam))
    (ite (= c 3) (m* A (mrelu G)) (scale (gap G) A))
    """
    terms = {*parts.values(), otherwise}
    if len({term.sort for term in terms}) > 1:
        parts, otherwise = {n: contribution(term) for n, term in parts.items()}, contribution(otherwise)
    classes: dict[Term, list[int]] = {}
    for image_class, term in sorted(parts.items()):
        classes.setdefault(term, []).append(image_class)
    answer = otherwise
    for term, several in reversed(classes.items()):
        if term is not otherwise:
            answer = _apply("ite", _one_of(several), term, answer)
    return answer


def of_class(term: Term, image_class: int) -> Term:
    """The part of a term that counts where an image class is explained: branches on c are taken, as far as they are at the top.

    >>> from sycam.cams import find_cam
    >>> print(of_class(find_cam("(ite (or (= c 3) (= c 5)) (gap G) (ite (= c 4) (gap A) (gmax G)))").term, 4))
    (gap A)
    """
    while term.name == "ite" and (holds := _value(term.args[0], image_class)) is not None:
        term = term.args[1] if holds else term.args[2]
    return term


def _one_of(classes: list[int]) -> Term:
    explained = Term(terminal_variable("c"))
    equal = [_apply("=", explained, Term(Literal(n, INT))) for n in classes]
    return equal[0] if len(equal) == 1 else _apply("or", *equal)


def _value(condition: Term, image_class: int) -> bool | None:
    """Whether a condition on c alone, of = and or, holds; None where it is another one."""
    explained = terminal_variable("c")
    if any(not (t.symbol == explained or isinstance(t.symbol, Literal) or t.name in ("=", "or")) for t in subterms(condition)):
        return None

    def visit(term: Term, args: tuple[object, ...]) -> object:
        if isinstance(term.symbol, Literal):
            return term.symbol.value
        if term.symbol == explained:
            return image_class
        return any(args) if term.name == "or" else len(set(args)) == 1

    found = fold(condition, visit, {})
    return bool(found) if condition.sort == BOOL else None


def _apply(name: str, *args: Term) -> Term:
    function = core_function(name, tuple(arg.sort for arg in args))
    assert isinstance(function, Function), f"{name} at {[str(arg.sort) for arg in args]}"
    return Term(function, args)
