"""cvc5's own SyGuS-IF parser as the referee: files that it reads we read, and files that it refuses we refuse."""

import cvc5
import pytest
from setting import GRAMMARS

from sycam.theory import CAM
from sygus import SygusError, read, read_file

HEAD = "(set-logic ALL)\n"


def cvc5_error(text: str) -> str | None:
    """What cvc5's parser says against `text`. Sorts of bodies and assumptions are checked only by `invoke`."""
    manager = cvc5.TermManager()
    solver, symbols = cvc5.Solver(manager), cvc5.SymbolManager(manager)
    solver.setOption("sygus", "true")
    parser = cvc5.InputParser(solver, symbols)
    parser.setStringInput(cvc5.InputLanguage.SYGUS_2_1, text, "text")
    try:
        while not (command := parser.nextCommand()).isNull():
            if command.getCommandName() != "check-synth":
                answer = str(command.invoke(solver, symbols))
                if "error" in answer:
                    return answer
    except RuntimeError as error:
        return str(error)
    return None


def our_error(text: str) -> str | None:
    try:
        read(text)
    except SygusError as error:
        return str(error)
    return None


@pytest.mark.parametrize("path", sorted(GRAMMARS.glob("**/*.sy")), ids=lambda path: path.stem)
def test_shipped_grammar_is_read_by_both(path):
    if "objectives" not in path.parts:  # those use commands that cvc5 does not know
        assert cvc5_error(path.read_text(encoding="utf-8")) is None
    problem = read_file(path, CAM)
    assert problem.not_acted_on == []
    assert problem.checked == bool(problem.targets), "a grammar ends in (check-synth); known.sy has neither"


def synth(grammar: str, arguments: str = "(x Real) (y Real)", result: str = "Real", before: str = "", after: str = "") -> str:
    return f"{HEAD}{before}(synth-fun f ({arguments}) {result} {grammar})\n{after}(check-synth)"


def reals(rules: str, **keywords: str) -> str:
    return synth(f"((R Real)) ((R Real ({rules})))", **keywords)


def ints(rules: str) -> str:
    return synth(f"((I Int)) ((I Int ({rules})))", arguments="(x Int)", result="Int")


def assume(term: str, declared: str = "(declare-var v Real)(declare-var i Int)(declare-var b Bool)") -> str:
    return f"{HEAD}{declared}(assume {term})"


def define(body: str, arguments: str = "(x Real)", result: str = "Real", before: str = "") -> str:
    return f"{HEAD}{before}(define-fun g ({arguments}) {result} {body})"


def var(name: str) -> str:
    return f"{HEAD}(declare-var {name} Real)"


def info(value: str) -> str:
    return f"{HEAD}(set-info :any {value})"


MAP = "(declare-sort M 0)(declare-fun gap (M) Real)(declare-var m M)"
H = "(define-fun h ((x Real)) Real x)"
TEXTS = {
    # structure
    "plain": reals("x y (+ R R)"),
    "empty file": "",
    "only a comment": "; nothing",
    "missing parenthesis": "(set-logic ALL",
    "one parenthesis too many": "(set-logic ALL))",
    "empty parentheses": "()",
    "bare symbol": "hello",
    "brackets": "[set-logic ALL]",
    "comments": ";hello\n(set-logic ALL);x)\n(declare-var x Real) ; end",
    "comment at the very end": HEAD + "; (unclosed",
    "carriage returns": "(set-logic ALL)\r\n(declare-var x Real)\r\n",
    "form feed": "(set-logic\fALL)",
    "vertical tab": "(set-logic\vALL)",
    "no-break space": "(set-logic\u00a0ALL)",
    "byte order mark": "\ufeff(set-logic ALL)",
    "null byte": "(set-logic ALL)\0",
    # literals
    "numeral under Int": ints("x 1 (+ I I) (- I) (* I I)"),
    "numeral under Real": reals("x 1"),
    "numeral beside Real": reals("x (+ R 1)"),
    "decimal under Real": reals("x 1.0"),
    "decimal under Int": ints("x 1.0"),
    "minus 1.0": reals("x (- 1.0)"),
    "minus 1 under Real": reals("x (- 1)"),
    "negative decimal": reals("x -1.0"),
    "negative numeral": ints("x -1"),
    "leading zeros in a numeral": assume("(= i (+ i 007))"),
    "leading zeros in a decimal": reals("x 007.5"),
    "leading zeros where nobody reads": info("007"),
    "no digit after the point": reals("x 1."),
    "no digit before the point": reals("x .5"),
    "two points": reals("x 1.5.3"),
    "exponent": reals("x 1e3"),
    "letter after a numeral": assume("(= 1i 0)"),
    "letter after a decimal": reals("x 1.0y"),
    "hexadecimal": info("#x0F"),
    "bad hexadecimal": info("#xG"),
    "bad binary": info("#b2"),
    # symbols
    "every symbol character": HEAD + "(declare-var ~!@$%^&*_-+=<>.?/ Real)(assume (> ~!@$%^&*_-+=<>.?/ 0.0))",
    "symbol with #": var("a#b"),
    "symbol with a quote mark": var("a'"),
    "letter outside ASCII": var("λ"),
    "quoted symbol": HEAD + "(declare-var |a b| Real)(assume (> |a b| 0.0))",
    "quoted and plain are one symbol": HEAD + "(declare-var |ab| Real)(assume (> ab 0.0))",
    "quoted symbol over two lines": HEAD + "(declare-var |a\nb| Real)(assume (> |a\nb| 0.0))",
    "quoted symbol that is not closed": var("|ab"),
    "quoted empty symbol": HEAD + "(declare-var || Real)(assume (> || 0.0))",
    "quoted letter outside ASCII": HEAD + "(declare-var |λ| Real)(assume (> |λ| 0.0))",
    "quoted core function": define("(|+| x x)"),
    "quoted sort": HEAD + "(declare-var x |Real|)",
    "quoted reserved word": HEAD + "(declare-var |let| Real)(assume (> |let| 0.0))",
    "quoted theory name": var("|forall|"),
    "quoted symbols side by side": reals("x|y|"),
    "starts with a point": var(".a"),
    "starts with an at sign": var("@a"),
    "quoted, starts with an at sign": var("|@a|"),
    "starts with a minus": var("-a"),
    "a number as a name": var("-1"),
    "argument that starts with an at sign": define("@a", arguments="(@a Real)"),
    "argument that starts with a point": define(".a", arguments="(.a Real)"),
    "backslash between bars": var("|a\\b|"),
    # set-info
    "information: a string": info('"a ""b"" c"'),
    "information: a string over two lines": info('"a\nb"'),
    "information: a backslash": info('"a\\b"'),
    "information: a string that is not closed": info('"abc'),
    "information: a list": info("(b (c))"),
    "information: a list with numbers": info("(b (c 1 2.0) :k)"),
    "information: reserved word": info("let"),
    "information: two values": info('"b"c'),
    "information: no value": HEAD + "(set-info :any)",
    "information: no keyword": HEAD + "(set-info any 1)",
    "information: empty keyword": HEAD + "(set-info : 1)",
    "information: keyword from a digit": HEAD + "(set-info :1a 1)",
    "information: known status": HEAD + "(set-info :status sat)",
    "information: unknown status": HEAD + "(set-info :status maybe)",
    "information before the logic": "(set-info :any 1)(set-feature :grammars true)(set-logic ALL)",
    # logic
    "no logic": "(declare-var x Real)",
    "logic twice": "(set-logic ALL)(set-logic ALL)",
    "logic late": "(declare-var x Real)(set-logic ALL)",
    "logic after a sort": "(declare-sort M 0)(set-logic ALL)",
    # sorts
    "unknown sort of a variable": HEAD + "(declare-var x Reel)",
    "unknown sort of a function": HEAD + "(declare-fun f (Map) Real)",
    "declared sort": HEAD + "(declare-sort M 0)(declare-var x M)",
    "sort declared twice": HEAD + "(declare-sort M 0)(declare-sort M 0)",
    "sort Real declared": HEAD + "(declare-sort Real 0)",
    "sort without its arity": HEAD + "(declare-sort M)",
    "sort of arity -1": HEAD + "(declare-sort M -1)",
    "sort of arity 0.0": HEAD + "(declare-sort M 0.0)",
    "sort of arity 1": HEAD + "(declare-sort M 1)(declare-var x (M Real))",
    "sort named as a function": HEAD + "(declare-sort M 0)(declare-fun M (M) M)",
    "sort named as a core function": HEAD + "(declare-sort + 0)",
    "sort named as a reserved word": HEAD + "(declare-sort let 0)",
    "sort named as a variable": HEAD + "(declare-var M Real)(declare-sort M 0)",
    "variable named as a sort": HEAD + "(declare-sort M 0)(declare-var M Real)(declare-var Real Real)",
    "bit vectors": HEAD + "(declare-var x (_ BitVec 8))",
    "arrays": HEAD + "(declare-var x (Array Int Real))",
    "sort abbreviation": HEAD + "(define-sort M () Real)(declare-var x M)",
    # names
    "variable twice": HEAD + "(declare-var x Real)(declare-var x Real)",
    "variable at two sorts": HEAD + "(declare-var x Real)(declare-var x Int)",
    "function twice": HEAD + "(declare-fun g (Real) Real)(declare-fun g (Real) Real)",
    "function and variable": HEAD + "(declare-fun g (Real) Real)(declare-var g Real)",
    "definition twice": HEAD + H + H,
    "overloaded function": HEAD + "(declare-fun g (Real) Real)(declare-fun g (Int) Real)",
    "argument twice": define("x", arguments="(x Real) (x Real)"),
    "argument of a synth-fun twice": reals("x", arguments="(x Real) (x Real)"),
    "synth-fun named as a definition": reals("x", before="(define-fun f ((x Real)) Real x)"),
    "synth-fun twice": reals("x", after="(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x))))"),
    "synth-fun named +": reals("x").replace("synth-fun f", "synth-fun +"),
    "argument named as a variable": reals("v", arguments="(v Real)", before="(declare-var v Real)"),
    "argument named as a function": reals("h", arguments="(h Real)", before=H),
    "argument named as a function, applied": define("(h h)", arguments="(h Real)", before=H),
    "argument named +": reals("+ (+ R R)", arguments="(+ Real)"),
    "argument named + beside +": define("(+ + 1.0)", arguments="(+ Real)"),
    "argument named as a command": reals("synth-fun", arguments="(synth-fun Real)"),
    "argument named let": define("1.0", arguments="(let Real)"),
    "argument named true": define("true", arguments="(true Real)"),
    # functions
    "declared constant": HEAD + "(declare-fun k () Real)(assume (> k 0.0))",
    "declared constant in parentheses": HEAD + "(declare-fun k () Real)(assume (> (k) 0.0))",
    "defined constant": define("1.0", arguments=""),
    "definition of the wrong sort": define("x", result="Int"),
    "definition of a Bool": define("(> x 0.0)", result="Bool"),
    "numeral as the body of a Real": define("1"),
    "definition that calls itself": define("(g x)"),
    "definition used before": define("(h x)") + H,
    "scope of an argument ends": define("x") + "(assume (> x 0.0))",
    "scope of a synth-fun's argument ends": reals("x", after="(assume (> x 0.0))"),
    "scope of a nonterminal ends": reals("x", after="(assume (> R 0.0))"),
    "variable in a definition": define("(+ x v)", before="(declare-var v Real)"),
    "variable in a grammar": reals("x v", before="(declare-var v Real)"),
    "definition without a body": HEAD + "(define-fun g ((x Real)) Real)",
    "definition with two bodies": HEAD + "(define-fun g ((x Real)) Real x x)",
    "arguments without parentheses": HEAD + "(define-fun g (x Real) Real x)",
    # terms
    "unknown symbol": reals("x z"),
    "unknown function": reals("x (foo R)"),
    "abs of two": reals("x (abs R R)"),
    "+ of one": reals("x (+ R)"),
    "- of one": reals("x (- R)"),
    "+ of three": reals("x (+ R R R)"),
    "* of three": reals("x (* R R R)"),
    "/ of one": reals("x (/ R)"),
    "/ of three": reals("x (/ R R R)"),
    "+ of none": assume("(= (+) 1.0)"),
    "core function that stands alone": assume("+"),
    "function that stands alone": assume("g", "(declare-fun g (Real) Bool)"),
    "variable applied": assume("(b b)"),
    "true applied": assume("(true)"),
    "true": assume("true"),
    "assumption that is no Bool": assume("(+ v v)"),
    "assumption of an unknown": assume("(> q 0.0)"),
    "chain of comparisons": assume("(< 0.0 v 1.0)"),
    "= of Real and Int": assume("(= v 0)"),
    "< of Real and Int": assume("(< v 0)"),
    "+ of Real and Int": assume("(< 0.0 (+ v i))"),
    "/ of Int": assume("(= (/ i i) 1.0)"),
    "to_real": assume("(= (to_real i) 1.0)"),
    "to_real of a Real": assume("(= (to_real v) 1.0)"),
    "to_int": assume("(= (to_int v) 1)"),
    "abs": assume("(and (= (abs i) 1) (= (abs v) 1.0))"),
    "exp and sqrt": assume("(= (exp v) (sqrt v))"),
    "exp of an Int": assume("(= (exp i) 1.0)"),
    "ite without a condition": assume("(= (ite v v v) 1.0)"),
    "ite of two sorts": assume("(= (ite true v 1) 1.0)"),
    "ite of Bools": assume("(ite b b true)"),
    "and of one": assume("(and b)"),
    "and of three": assume("(and b b b)"),
    "and of Reals": assume("(and v v)"),
    "not of two": assume("(not b b)"),
    "=> of three": assume("(=> b b b)"),
    "=> of one": assume("(=> b)"),
    "xor of three": assume("(xor b b b)"),
    "= of one": assume("(= b)"),
    "= of three": assume("(= b b b)"),
    "= of a declared sort": assume("(= m m)", MAP),
    "+ of a declared sort": assume("(= m (+ m m))", MAP),
    "distinct of three": assume("(distinct v 1.0 2.0)"),
    "distinct of one": assume("(distinct v)"),
    "< of Bools": assume("(< b b)"),
    "< of one": assume("(< v)"),
    "declared function": assume("(> (gap m) 0.0)", MAP),
    "declared function of the wrong sort": assume("(> (gap 1.0) 0.0)", MAP),
    "declared function of two": assume("(> (gap m m) 0.0)", MAP),
    "declared function of a numeral": assume("(> (g 1) 0.0)", "(declare-fun g (Real) Real)"),
    "function named m*": assume("(= (m* m m) m)", MAP + "(declare-fun m* (M M) M)"),
    "strings": assume('(= "a" "b")'),
    "quantifier": assume("(forall ((x Real)) (> x 0.0))"),
    "annotation": assume("(! (> v 0.0) :named p)"),
    # let
    "let": define("(let ((z (+ x 1.0))) (* z z))"),
    "let in parallel": define("(let ((x 1.0) (z x)) (+ x z))"),
    "let, one binding in another": define("(let ((z 1.0) (w z)) (+ w z))"),
    "let of nothing": define("(let () x)"),
    "let of one name twice": define("(let ((z 1.0) (z 2.0)) z)"),
    "let hides a function": define("(let ((h 1.0)) h)", before=H),
    "let hides a function that is applied": define("(let ((h 1.0)) (h h))", before=H),
    "let names +": define("(let ((+ 1.0)) (+ x x))"),
    "let names let": define("(let ((let 1.0)) let)"),
    "let in a grammar": reals("x (let ((z x)) (+ z z))"),
    "let of a nonterminal": reals("x (let ((z R)) (+ z z))"),
    # grammars
    "two nonterminals": synth("((R Real) (B Bool)) ((R Real (x (ite B R R))) (B Bool ((> R R))))"),
    "nonterminals not declared": synth("((R Real (x y (+ R R))))"),
    "no nonterminal": synth("() ()"),
    "nonterminal twice": synth("((R Real) (R Real)) ((R Real (x)) (R Real (y)))"),
    "nonterminal without a rule": synth("((R Real) (S Real)) ((R Real (x S)))"),
    "rule without a nonterminal": synth("((R Real)) ((R Real (x)) (S Real (y)))"),
    "rules in another order": synth("((R Real) (S Real)) ((S Real (y)) (R Real (x S)))"),
    "rule of another sort": synth("((R Real)) ((R Int (x)))"),
    "start of another sort": synth("((B Bool) (R Real)) ((B Bool ((> R R))) (R Real (x)))"),
    "empty rule": synth("((R Real)) ((R Real ()))"),
    "no finite term": synth("((R Real)) ((R Real ((+ R R))))"),
    "production of another sort": reals("x (> x y)"),
    "production twice": reals("x x"),
    "chain": synth("((R Real) (S Real)) ((R Real (x S)) (S Real (y R)))"),
    "chain to itself": reals("x R"),
    "nested template": reals("x (ite (> R 0.0) R R)"),
    "nonterminal named as an argument": synth("((y Real)) ((y Real (x)))"),
    "nonterminal named as a definition": synth("((h Real)) ((h Real (y)))", before=H),
    "nonterminal named as a later definition": synth("((h Real)) ((h Real (y)))", after=H),
    "nonterminal named as the synth-fun": synth("((f Real)) ((f Real (y)))"),
    "nonterminal named as a variable": synth("((v Real)) ((v Real (y)))", before="(declare-var v Real)"),
    "nonterminal named +": synth("((+ Real)) ((+ Real (y)))"),
    "nonterminal named Real": synth("((Real Real)) ((Real Real (y)))"),
    "nonterminal named as a declared sort": synth("((M Real)) ((M Real (y)))", before="(declare-sort M 0)"),
    "nonterminal named let": synth("((let Real)) ((let Real (y)))"),
    "any constant": reals("x (Constant Real)"),
    "any variable": reals("(Variable Real) (+ R R)"),
    "any constant of another sort": reals("x (Constant Int)"),
    "any variable of another sort": reals("x (Variable Int)"),
    "any constant of an unknown sort": reals("x (Constant Foo)"),
    "any constant inside": reals("x (+ R (Constant Real))"),
    "any variable where there is none": synth("((R Real) (B Bool)) ((R Real (x (ite B R R))) (B Bool ((Variable Bool) true)))"),
    "any Int constant": ints("x (Constant Int)"),
    "synth-fun of no arguments": reals("1.0 (+ R R)", arguments=""),
    "synth-fun without a grammar": HEAD + "(synth-fun f ((x Real)) Real)(check-synth)",
    # commands
    "constraint": reals("x", after="(declare-var v Real)(constraint (>= (f v v) 0.0))"),
    "constraint on one argument too few": reals("x", after="(declare-var v Real)(constraint (>= (f v) 0.0))"),
    "constraint that is no Bool": reals("x", after="(declare-var v Real)(constraint (f v v))"),
    "no check-synth": HEAD + "(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x))))",
    "two synth-funs": reals("x", after="(synth-fun g ((x Real)) Real ((R Real)) ((R Real (x))))"),
    "check-synth twice": reals("x") + "(check-synth)",
    "command after check-synth": reals("x") + "(declare-var z Real)",
    "option": HEAD + "(set-option :random-seed 1)",
    "feature": HEAD + "(set-feature :oracles true)",
    "unknown feature": HEAD + "(set-feature :foo true)",
    "feature that is neither true nor false": HEAD + "(set-feature :grammars yes)",
    "unknown command": HEAD + "(frobnicate x)",
    "command in capitals": "(SET-LOGIC ALL)",
    "weight": HEAD + "(declare-weight w)",
    "assert": HEAD + "(assert true)",
}

LOGICS = (
    "ALL", "QF_ALL", "HO_ALL", "LIA", "LRA", "NRA", "NIA", "LIRA", "NIRA", "UF", "QF_UF", "QF_LRA", "QF_NRA", "QF_NRAT",
    "UFLIA", "QF_UFNRA", "AUFLIRA", "SLIA", "DTLIA", "QF_S", "QF_AX", "QF_ABVFPLRA", "FP", "BV", "QF_FF", "SEP_LRA", "HO_UF",
    "UFC", "RDL", "QF_IDL", "QF_FS", "ALL_SUPPORTED", "X", "all", "LA", "RA", "UFNT", "SEP", "CrCi", "Inv_General",
    "PBE_SLIA", "NRAA1",
)  # fmt: skip
TEXTS |= {f"logic {name}": f"(set-logic {name})" for name in LOGICS}

NAMES = (
    "+", "-", "*", "/", "<", "<=", "=", ">=", "abs", "ite", "and", "or", "xor", "=>", "not", "distinct", "exp", "sqrt",
    "to_real", "sin", "cos", "tan", "arcsin", "arccot", "real.pi", "mod", "div", "is_int", "to_int", "^", "select", "store",
    "concat", "tuple", "bag", "fp", "forall", "exists", "true", "false", "let", "_", "!", "as", "par", "match", "max", "min",
    "log", "pow", "norm", "mean", "sum", "gap", "softmax", "relu", "scale", "fill", "above", "Real", "Constant", "Variable",
    "check-synth", "NUMERAL", "lambda", "pi",
)  # fmt: skip
TEXTS |= {f"variable named {name}": var(name) for name in NAMES}

OURS, CVC5 = "ours", "cvc5"
DEVIATIONS = {  # name of the text: who accepts it alone, and why that is right
    "numeral beside Real": (CVC5, "no mixed arithmetic: what is Int and what Real is written"),
    "= of Real and Int": (CVC5, "no mixed arithmetic"),
    "< of Real and Int": (CVC5, "no mixed arithmetic"),
    "+ of Real and Int": (CVC5, "no mixed arithmetic"),
    "/ of Int": (CVC5, "no mixed arithmetic"),
    "to_real of a Real": (CVC5, "no mixed arithmetic"),
    "to_int": (CVC5, "not in our core"),
    "negative decimal": (CVC5, "SyGuS-IF has no negative literals; the message says (- 1.0)"),
    "negative numeral": (CVC5, "SyGuS-IF has no negative literals"),
    "backslash between bars": (CVC5, "the standard forbids it"),
    "and of one": (CVC5, "the standard gives `and` at least two arguments"),
    "overloaded function": (CVC5, "one name, one signature"),
    "argument of a synth-fun twice": (CVC5, "a slip: one of the two can never be used"),
    "variable in a definition": (CVC5, "the standard closes definitions; free variables would escape the grammar's arguments"),
    "sort of arity 1": (CVC5, "not in our core"),
    "bit vectors": (CVC5, "not in our core"),
    "arrays": (CVC5, "not in our core"),
    "strings": (CVC5, "not in our core"),
    "sort abbreviation": (CVC5, "not acted on, so its name is not known"),
    "quantifier": (CVC5, "not in our core"),
    "annotation": (CVC5, "not in our core"),
    "let of nothing": (CVC5, "the standard asks for a binding"),
    "no finite term": (CVC5, "a slip: the search would find nothing"),
    "nonterminal named as an argument": (CVC5, "a slip: the argument could not be used"),
    "nonterminal named as a definition": (CVC5, "a slip: the function could not be used"),
    "nonterminal named +": (CVC5, "a slip: the function could not be used"),
    "synth-fun named +": (CVC5, "a slip: the function could not be used"),
    "synth-fun without a grammar": (CVC5, "we have no grammar of our own"),
    "check-synth twice": (CVC5, "nothing after the first is reached"),
    "command after check-synth": (CVC5, "nothing after the first is reached"),
    "unknown feature": (CVC5, "cvc5 only warns; a file is obeyed whole or not at all"),
    "feature that is neither true nor false": (CVC5, "the standard's values are true and false"),
    "nonterminals not declared": (OURS, "the form of SyGuS-IF 1, which older suites use"),
    "unknown command": (OURS, "read, and refused by Problem.target(), which names it"),
    "command in capitals": (OURS, "read, and refused by Problem.target()"),
    "weight": (OURS, "SyGuS-IF 2.1 that cvc5 lacks; refused by Problem.target() so far"),
    "information: a list with numbers": (OURS, "cvc5 1.4.2 loses count of the parentheses"),
    "information: unknown status": (OURS, "cvc5 checks the value of :status; nobody else reads it"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_accepts_what_cvc5_accepts(name):
    ours, theirs = our_error(TEXTS[name]), cvc5_error(TEXTS[name])
    alone, _ = DEVIATIONS.get(name, (None, None))
    expected = {None: theirs is None, OURS: True, CVC5: False}[alone]
    assert (ours is None) == expected, f"ours: {ours}\ncvc5: {theirs}"
    if alone:
        assert (theirs is None) == (alone == CVC5), "the deviation is gone: strike it from the list"


def test_every_deviation_is_a_text():
    assert not DEVIATIONS.keys() - TEXTS.keys()
    assert len(TEXTS) > 4 * len(DEVIATIONS)


@pytest.mark.parametrize("name", [name for name, (who, _) in DEVIATIONS.items() if who == OURS and "information" not in name])
def test_what_only_we_read_is_never_half_obeyed(name):
    problem = read(TEXTS[name])
    if name == "nonterminals not declared":
        assert str(problem.target().grammar) == "R Real -> x | y | (+ R R)"
    else:
        with pytest.raises(SygusError, match="is not supported yet, and a file is obeyed whole or not at all"):
            problem.target()
