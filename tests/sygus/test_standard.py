"""What the commands and terms of SyGuS-IF 2.1 mean to us: what a file puts into the `Problem`."""

import pytest

from sygus import BOOL, INT, REAL, Sort, SygusError, Term, Variable, expand, read, read_file, read_term
from sygus.language.problem import Goal
from sygus.terms import Binder, arrow, bit_vector, substitute, variable

HEAD = "(set-logic ALL)\n"
FEATURES = "(set-feature :oracles true)(set-feature :weights true)\n"
SYNTH = "(synth-fun f ((x Int)) Int ((I Int)) ((I Int (x 0 1 (+ I I)))))"
LIST = "(declare-datatype List ((nil) (cons (head Int) (tail List))))(declare-var l List)"


def assumed(term: str, before: str = "", logic: str = HEAD) -> str:
    """How `term` reads, printed again."""
    problem = read(f"{logic}{before}(assume {term})")
    text = str(problem.assumptions[0][0])
    assert read(f"{logic}{before}(assume {text})").assumptions[0][0] is problem.assumptions[0][0]
    return text


def test_objective_with_oracle_and_weights():
    problem = read(
        f"""(set-logic ALL){FEATURES}(declare-sort Map 0)(declare-weight w :default 2)
        (declare-oracle-fun adcc ((-> Map Map Real Real)) Real adcc_program)
        (synth-fun weight ((A Map) (G Map) (y Real)) Real ((R Real)) ((R Real (y (! (+ R R) :w 3) (! (Constant Real) :w 0)))))
        (constraint (<= (_ w weight) 7))
        (optimize-synth ((! (adcc weight) :max) (! (_ w weight) :min)) :pareto)"""
    )
    map_sort = Sort("Map")
    function = arrow((map_sort, map_sort, REAL), REAL)
    oracle = problem.oracles["adcc"]
    assert (oracle.parameters, oracle.result, oracle.implementation) == ((function,), REAL, "adcc_program")
    assert problem.weights["w"].default == 2
    assert [p.weights for p in problem.target().grammar.productions["R"]] == [(), (("w", 3),), (("w", 0),)]
    assert str(problem.constraints[0][0]) == "(<= (_ w weight) 7)"
    objective = problem.objective
    assert objective.combination == "pareto" and problem.checked
    assert [(str(goal.term), goal.direction) for goal in objective.goals] == [("(adcc weight)", "max"), ("(_ w weight)", "min")]
    assert isinstance(objective.goals[0], Goal) and objective.goals[0].term.args[0] is Term(Variable("weight", function))


def test_goals_are_lexicographic_where_nothing_is_said():
    problem = read(f"{HEAD}{FEATURES}{SYNTH}(declare-oracle-fun o ((-> Int Int)) Real o)(optimize-synth ((! (o f) :min)))")
    assert problem.objective.combination == "lexico" and problem.target().name == "f"


@pytest.mark.parametrize(
    "command",
    [
        "(oracle-assume ((x Int)) ((y Int)) (= (f x) y) o)", "(oracle-constraint ((x Int)) ((y Int)) (= (f x) y) o)",
        "(oracle-constraint-io f o)", "(oracle-constraint-cex f o)", "(oracle-constraint-membership f o)",
        "(oracle-constraint-poswitness f o)", "(oracle-constraint-negwitness f o)", "(declare-correctness-oracle f o)",
        "(declare-correctness-cex-oracle f o)",
    ],
)  # fmt: skip
def test_an_oracle_that_nobody_asks_is_refused_by_name_and_place(command):
    problem = read(f"{HEAD}{FEATURES}{SYNTH}\n{command}(check-synth)", "my.sy")
    with pytest.raises(SygusError) as caught:
        problem.target()
    name = command[1:].split()[0]
    assert str(caught.value).startswith(f"my.sy:4:1: the command ({name} ...) is not supported yet")


def test_an_invariant_is_three_constraints():
    problem = read(
        """(set-logic LIA)(synth-inv inv ((x Int) (y Int)))
        (define-fun pre ((x Int) (y Int)) Bool (= x y))(define-fun post ((x Int) (y Int)) Bool (>= x y))
        (define-fun trans ((x Int) (y Int) (a Int) (b Int)) Bool (and (= a (+ x 1)) (= b y)))
        (inv-constraint inv pre trans post)(check-synth)"""
    )
    assert [str(term) for term, _ in problem.constraints] == [
        "(=> (pre inv.1 inv.2) (inv inv.1 inv.2))",
        "(=> (and (inv inv.1 inv.2) (trans inv.1 inv.2 |inv.1'| |inv.2'|)) (inv |inv.1'| |inv.2'|))",
        "(=> (inv inv.1 inv.2) (post inv.1 inv.2))",
    ]
    target = problem.target()
    assert (target.result, target.given, target.grammar.start) == (BOOL, False, "Bool")


def test_a_horn_clause_is_a_constraint():
    text = "(set-logic CHC_LIA)(synth-fun inv ((x Int)) Bool)(chc-constraint ((a Int)) (= a 0) (inv a))(check-synth)"
    assert [str(term) for term, _ in read(text).constraints] == ["(=> (= a 0) (inv a))"]


@pytest.mark.parametrize(
    ("logic", "sort", "rules"),
    [
        ("LIA", "Int", "x | (Constant Int) | (+ Int Int) | (- Int Int) | (ite Bool Int Int)"),
        (
            "NRA",
            "Real",
            "x | (Constant Real) | (+ Real Real) | (- Real Real) | (* Real Real) | (/ Real Real) | (ite Bool Real Real)",
        ),
        ("UF", "Bool", "x | true | false | (not Bool) | (and Bool Bool) | (or Bool Bool)"),
    ],
)
def test_a_missing_grammar_is_that_of_the_logic(logic, sort, rules):
    target = read(f"(set-logic {logic})(synth-fun f ((x {sort})) {sort})(check-synth)").target()
    assert str(target.grammar).split("\n")[0] == f"{sort} {sort} -> {rules}"
    assert not target.given and not target.grammar.unproductive()


def test_a_missing_grammar_that_derives_nothing_is_refused():
    problem = read(f"{HEAD}(declare-sort M 0)(synth-fun f () M)(check-synth)")
    with pytest.raises(SygusError, match="a synth-fun of 'f' without a grammar is not supported yet"):
        problem.target()


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("(= v 1)", "(= v 1.0)"),
        ("(< (+ v i) 2)", "(< (+ v (to_real i)) 2.0)"),
        ("(= (/ i 2) v)", "(= (/ (to_real i) 2.0) v)"),
        ("(= (to_real v) v)", "(= v v)"),
        ("(= (to_int i) i)", "(= i i)"),
        ("(is_int i)", "(is_int (to_real i))"),
        ("(= i -3)", "(= i (- 3))"),
        ("(> v -0.5)", "(> v (- 0.5))"),
    ],
)
def test_mixed_arithmetic_is_written_out(term, text):
    assert assumed(term, "(declare-var v Real)(declare-var i Int)") == text


def test_a_numeral_is_real_where_the_logic_has_no_integers():
    assert assumed("(= v 1)", "(declare-var v Real)", "(set-logic LRA)") == "(= v 1.0)"


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("(= x #b00001111)", "(= x #x0f)"),
        ("(= ((_ extract 2 0) x) #b101)", "(= ((_ extract 2 0) x) #b101)"),
        ("(= (concat x (_ bv3 8)) #x0f03)", "(= (concat x #x03) #x0f03)"),
        (r'(= s "a\u{42}""\u00e9\n")', r'(= s "aB""\u{e9}\u{5c}n")'),
        ("(= s (_ char #x41))", '(= s "A")'),
        ("(= (select a i) ((_ re.^ 2) re.all))", None),
        ("(= ((as const (Array Int Real)) 0.5) (store a i 1.0))", "(= ((as const (Array Int Real)) 0.5) (store a i 1.0))"),
        ("(= (seq.unit i) (as seq.empty (Seq Int)))", "(= (seq.unit i) (as seq.empty (Seq Int)))"),
        ("(= (as i Int) 3)", "(= i 3)"),
        ("(! (> i 0) :named positive :pattern ((f i)))", "(> i 0)"),
        ("(exists ((i Int) (j Int)) (! (> i j) :pattern (i)))", "(exists ((i Int) (j Int)) (> i j))"),
        ("(let ((k i)) (forall ((i Int)) (= i k)))", "(forall ((i!1 Int)) (= i!1 i))"),
        ("(= ((_ divisible 3) i) ((_ is cons) l))", "(= ((_ divisible 3) i) ((_ is cons) l))"),
        ("(is-cons l)", "((_ is cons) l)"),
        ("(= l ((_ update head) (cons 1 nil) 2))", "(= l ((_ update head) (cons 1 nil) 2))"),
        ("(= 1 (match l ((nil 0) ((cons a b) (+ a i)))))", "(= 1 (ite ((_ is nil) l) 0 (+ (head l) i)))"),
        ("(= 1 (match l (((cons a b) a) (rest (head rest)))))", "(= 1 (ite ((_ is cons) l) (head l) (head l)))"),
    ],
)  # fmt: skip
def test_terms_of_other_theories(term, text):
    before = f"(declare-var x (_ BitVec 8))(declare-var s String)(declare-var a (Array Int Real))(declare-var i Int){LIST}"
    if text is None:
        with pytest.raises(SygusError, match="does not apply to"):
            assumed(term, before)
    else:
        assert assumed(term, before) == text


def test_parametric_datatypes():
    before = "(declare-datatypes ((P 1)) ((par (X) ((none) (some (the X))))))(declare-var p (P Int))"
    assert assumed("(= p (some 1))", before) == "(= p (some 1))"
    assert assumed("(= p (as none (P Int)))", before) == "(= p (as none (P Int)))"
    assert assumed("(= 1 (match p ((none 0) ((some x) x))))", before) == "(= 1 (ite ((_ is none) p) 0 (the p)))"
    datatype = read(HEAD + before).datatypes["P"]
    assert datatype.parameters == ("X",) and list(datatype.constructors) == ["none", "some"]


def test_functions_as_values():
    before = "(declare-fun g (Int) Int)(declare-fun h ((-> Int Int)) Int)(declare-var k (-> Int (-> Int Int)))"
    assert assumed("(= (h g) (k 1 2))", before, "(set-logic HO_ALL)") == "(= (h g) (k 1 2))"


def test_sorts():
    problem = read(
        f"{HEAD}(define-sort Pair (X) (Array X (_ BitVec 4)))(declare-var x (Pair Int))(define-sort B Bool)(declare-var b B)"
    )
    assert problem.variables["x"].sort == Sort("Array", (INT, bit_vector(4))) and problem.variables["b"].sort == BOOL


def test_a_named_term_stands_for_itself():
    problem = read(f"{HEAD}(declare-var v Real)(assume (! (> v 0.0) :named p))(constraint (not p))")
    assert str(problem.constraints[0][0]) == "(not (> v 0.0))"


def test_substitution_captures_nothing():
    x, y = variable("x", REAL), variable("y", REAL)
    names = [Variable("x", REAL), Variable("y", REAL)]
    term = read_term("(and (> x 0.0) (forall ((x Real)) (> x y)))", names, {})
    assert isinstance(term.args[1].symbol, Binder)
    assert str(substitute(term, {y: x})) == "(and (> x 0.0) (forall ((x!1 Real)) (> x!1 x)))"
    assert str(substitute(term, {x: y})) == "(and (> y 0.0) (forall ((x Real)) (> x y)))"
    assert substitute(term.args[1], {x: y}) is term.args[1]


def test_expanding_a_definition_below_a_quantifier_captures_nothing():
    problem = read(f"{HEAD}(define-fun less ((a Real)) Bool (exists ((b Real)) (< a b)))(declare-var b Real)(assume (less b))")
    assert str(expand(problem.assumptions[0][0])) == "(exists ((b!1 Real)) (< b b!1))"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(set-logic LRA)(declare-var x Int)", "the logic LRA has no sort 'Int'; it has Bool, BitVec, Real"),
        ("(set-logic LRA)(declare-fun f (Real) Real)", "the logic LRA has no functions of a file's own: add UF to it"),
        ("(set-logic LRA)(declare-sort M 0)", "the logic LRA has no sorts of a file's own: add UF to it"),
        ("(set-logic BV)(assume (= 1 1))", "the logic BV has no numbers"),
        (f"{HEAD}(declare-weight w)", "this command needs (set-feature :weights true) before it"),
        (f"{HEAD}(declare-var x (-> Int Int))", "functions as values need HO_ in the logic, or (set-feature :oracles true)"),
        (f"{HEAD}{LIST}(assume (= 1 (match l ((nil 1)))))", "match leaves out 'cons'"),
        (f"{HEAD}{LIST}(assume ((_ is conss) l))", "did you mean 'cons'?"),
        (f"{HEAD}(assume ((_ extract 9 0) #x00))", "(_ extract 9 0) does not apply to ((_ BitVec 8))"),
        (f"{HEAD}(assume (bvadd #x0 #x00))", "'bvadd' takes arguments of sorts ((_ BitVec n) (_ BitVec n)+) (_ BitVec n)"),
        (f"{HEAD}(declare-datatypes ((P 1)) ((par (X) ((none)))))(assume (= none none))", "write (as none sort)"),
        (f"{HEAD}(synth-func f ((x Int)) Int)", "unknown command 'synth-func'; did you mean 'synth-fun'?"),
        (
            f"{HEAD}{FEATURES}{SYNTH}(oracle-constraint-io g o)",
            "oracle-constraint-io is about a function to synthesise, 'g' is none",
        ),
        (f"{HEAD}{FEATURES}{SYNTH}(optimize-synth ((f 1)))", "a goal says its direction: (! term :max) or (! term :min)"),
    ],
)
def test_messages(text, message):
    with pytest.raises(SygusError) as caught:
        read(text, "my.sy")
    assert message in caught.value.message
    assert str(caught.value).startswith("my.sy:") and str(caught.value).endswith("^")


def test_synth_funs_of_other_sorts_are_read(tmp_path):
    path = tmp_path / "bits.sl"
    path.write_text(
        "(set-logic BV)(synth-fun f ((x (_ BitVec 8))) (_ BitVec 8) ((S (_ BitVec 8))) "
        "((S (_ BitVec 8) (x #x01 (bvadd S S) ((_ rotate_left 1) S)))))(check-synth)"
    )
    assert str(read_file(path).target().grammar) == "S (_ BitVec 8) -> x | #x01 | (bvadd S S) | ((_ rotate_left 1) S)"
