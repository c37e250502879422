"""Expressions: what they compute is what Python computes; what is not allowed is refused; no text
does harm or takes long."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photometry.chains.expressions import TaskExpressionEvaluation, is_expression, names_used
from photometry.chains.syntax import MAX_SIZE, size
from photometry.errors import WrongUseError

SCOPE = {"i": 3, "x": 2.5, "name": "tls", "list": [1, 2, 3]}
REQUESTED = {"search": {"period": 3.0, "outcome": "PASS"}}


def evaluate(text, **options):
    return TaskExpressionEvaluation(SCOPE, REQUESTED, **options).evaluate_expression(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(2 + 2)", 4),
        ("  (2 + 2)  ", 4),
        ("('%.3f' % pi)", "3.142"),  # the example of the original's documentation
        ("'transit_search_{name}'.format(**metadata)", "transit_search_tls"),
        ("'lc_{i}_{x}.gz'.format(**metadata)", "lc_3_2.5.gz"),
        ("'{i:.0f}-{i:03d}'.format(**metadata)", "3-003"),
        ("'{} {a}'.format(1, a=metadata['i'])", "1 3"),
        ("(metadata['x'] * constants.Rearth)", 2.5 * 0.08911486),
        ("(requested_metadata['search']['outcome'] == 'PASS')", True),
        ("(requested_metadata['search'].get('sde', -1))", -1),
        ("(1 if 0 < metadata['i'] <= 3 and not False else 2)", 1),
        ("('tls' in metadata['name'])", True),
        ("(max(metadata['list']) ** 2 % 5 // 2)", 2),
        ("(sum(range(4)) + len('abc') + round(2.567, 1))", 6 + 3 + 2.6),
        ("(sqrt(16) + math.log10(100) + floor(1.5))", 7.0),
        ("([1, (2, 3), {'a': -1}])", [1, (2, 3), {"a": -1}]),
        ("(metadata['list'][1:])", [2, 3]),
        ('"it\'s"', "it's"),
        ("'(text)'", "(text)"),
        ("(1) and (0)", 0),
    ],
)
def test_value_is_that_of_python(text, value):
    found = evaluate(text)
    assert found == pytest.approx(value) if isinstance(value, float) else found == value


def test_only_strings_that_begin_with_a_bracket_or_quote_are_expressions():
    assert [is_expression(value) for value in ("(a)", " 'a'", '"a"')] == [True] * 3
    assert not any(
        is_expression(value) for value in ("a", "", "  ", "2 + 2", 3, None, True, ["(1)"])
    )


@pytest.mark.parametrize(
    "text",
    [
        "(__import__('os').system('touch /tmp/x'))",
        "(open('/etc/passwd'))",
        "('{0.__class__}'.format(metadata))",
        "('{a.__init__.__globals__}'.format(a=1))",
        "('{0[a].b}'.format(metadata))",
        "(().__class__.__bases__)",
        "(metadata.__class__)",
        "(constants.__dict__)",
        "(random.Random)",
        "(random.seed(1))",
        "(math.factorial(1000000))",
        "(lambda: 1)",
        "([x for x in (1, 2)])",
        "(f'{1}')",
        "(x := 1)",
        "(print)",
        "(metadata.pop('i'))",
        "(min.__self__)",
        "(b'bytes')",
        "(1j)",
        "(yield)",
        "(9 ** 9 ** 9)",
        "(2 ** -(10 ** 30))",
        "('a' * 10 ** 10)",
        "([[0] * 1000] * 1000)",
        "('{:1000000000d}'.format(1))",
        "('{:{}}'.format(1, 1000000000))",
        "('%1000000000d' % 1)",
        "('%*d' % (1000000000, 1))",
        "(range(10 ** 9))",
        "(round(1, -10 ** 9))",
        "(int('9' * 5000))",
        "(1 / 0)",
        "(metadata['absent'])",
        "(unknown)",
        "(2 +",
        "((((((" * 100,
        "(" + "-" * 3000 + "1)",
        "(" + "1+" * 2000 + "1)",
        "(\x00)",
    ],
)
def test_what_is_not_allowed_is_refused_in_a_message_and_at_once(text):
    with pytest.raises(WrongUseError) as refusal:
        evaluate(text)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 700


def test_a_misspelt_name_is_answered_by_the_nearest_one():
    for text, hint in (
        ("(constants.Rearht)", "Rearth"),
        ("(sqrtt(2))", "sqrt"),
        ("(metdata)", "metadata"),
    ):
        with pytest.raises(WrongUseError, match=hint):
            evaluate(text)


def test_random_numbers_come_back_and_differ_by_place_and_seed():
    evaluation = TaskExpressionEvaluation(seed=5)
    structure = {"a": "(random.random())", "b": ["(random.random())", "(random.gauss(0, 1))"]}
    first = evaluation.evaluate_in_structure(structure)
    assert evaluation.evaluate_in_structure(structure) == first
    assert first["a"] != first["b"][0]
    assert TaskExpressionEvaluation(seed=6).evaluate_in_structure(structure) != first
    assert 1 <= evaluation.evaluate_expression("(random.randint(1, 6))") <= 6
    assert evaluation.evaluate_expression("(random.choice(['x', 'y']))") in "xy"


def test_structures_are_evaluated_everywhere_but_in_raw_lists():
    structure = {
        "('k' + 'ey')": ("(1 + 1)", {"deep": "(2 * 3)"}),
        "task_list": [{"task": "(unknown)"}],
        "inner": {"repeat_criterion": "(unknown)", "else_task_list": "(unknown)"},
        "plain": "text",
    }
    found = TaskExpressionEvaluation().evaluate_in_structure(structure)
    assert found == {
        "key": [2, {"deep": 6}],
        "task_list": [{"task": "(unknown)"}],
        "inner": {"repeat_criterion": "(unknown)", "else_task_list": "(unknown)"},
        "plain": "text",
    }
    assert structure["plain"] == "text"
    assert "('k' + 'ey')" in structure


def test_names_that_an_expression_needs():
    text = "'{a}_{b:d}_{c}'.format(c=requested_metadata['s']['x'] + constants.day, **metadata)"
    assert names_used(text) == ({"a", "b"}, {"s"}, {"day"})


ATOMS = st.sampled_from(
    [
        *(
            "1",
            "0",
            "-1",
            "2.5",
            "1e308",
            "10**3",
            "'a'",
            "'{}'",
            "'{0}'",
            "'%s'",
            "[]",
            "[1]",
            "{}",
        ),
        *("metadata", "constants", "requested_metadata", "random", "pi", "True", "None", "i"),
        *("metadata['i']", "constants.day", "random.random()", "str", "int", "sum", "range", "()"),
        *("__import__", "().__class__", "open", "eval", "''.__class__"),
    ]
)
TEXTS = st.recursive(
    ATOMS,
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from(["+", "*", "**", "%", "//", "<", "in", "and"]), part).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        ),
        st.tuples(part, part).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(part, part).map(lambda p: f"{p[0]}[{p[1]}]"),
        st.tuples(part, st.sampled_from(["format", "get", "__class__", "a"])).map(
            lambda p: f"{p[0]}.{p[1]}"
        ),
        st.tuples(part, part).map(lambda p: f"[{p[0]}, {p[1]}]"),
    ),
    max_leaves=12,
)
PLAIN = (str, int, float, bool, type(None), list, tuple, dict)


def is_plain(value):
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    return type(value) in PLAIN


@given(TEXTS)
def test_any_expression_gives_a_plain_bounded_value_or_a_message(text):
    try:
        value = evaluate(f"({text})")
    except WrongUseError:
        return
    assert is_plain(value)
    assert size(value) <= MAX_SIZE


@given(st.text(max_size=60))
def test_any_text_gives_a_plain_value_or_a_message(text):
    try:
        value = evaluate(f"({text})")
    except WrongUseError:
        return
    assert is_plain(value)


@given(st.floats(allow_nan=False), st.integers(-(10**6), 10**6))
def test_arithmetic_agrees_with_python(number, whole):
    evaluation = TaskExpressionEvaluation({"a": number, "b": whole})
    found = evaluation.evaluate_expression("(metadata['a'] * 2 - metadata['b'])")
    expected = number * 2 - whole
    assert found == expected or (math.isnan(found) and math.isnan(expected))
