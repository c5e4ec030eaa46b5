"""Integer expressions of kernel.yaml."""

import pytest

from safhost.errors import ConfigError
from safhost.plan.expr import MAX_EXPRESSION_CHARS, parse_expression


@pytest.mark.parametrize(("text", "value"), [
    ("n", 1000), ("n + 1", 1001), ("-n", -1000), ("n - m * 2", 990), ("(n + 511) // 512", 2), ("n % 7", 6),
    ("n / 8", 125), ("min(n, m, 3)", 3), ("max(n, m)", 1000), ("max(1, n // 2000)", 1), (7, 7),
                                             (" 3 * ( m ) ", 15),
])
def test_expression_evaluated_gives_integer(text, value):
    assert parse_expression(text).evaluate({"n": 1000, "m": 5}) == value


def test_expression_lists_its_names():
    expression = parse_expression("min(rows, cols) * 2")
    assert expression.names == {"rows", "cols"}
    assert not expression.is_name
    assert parse_expression("rows").is_name


@pytest.mark.parametrize("text", [
    "", "n +", "n ** 2", "n.real", "n[0]", "__import__('os')", "abs(n)", "min()", "min(n, key=m)", "1.5",
                                  "'a'", "n < m",
    "lambda: n", "[n]", "True", "n if m else 1", "min", "+n", "n\nm", "1 << 4", True, "9" * 30,
    "n" * (MAX_EXPRESSION_CHARS + 1), "(" * 300,
])
def test_expression_outside_grammar_is_refused(text):
    if text == "min":  # a bare name is a name, whatever it is called
        assert parse_expression(text).is_name
        return
    with pytest.raises(ConfigError):
        parse_expression(text)


@pytest.mark.parametrize(("text", "part"), [
    ("n / 512", "not a multiple"), ("n // m", "divides by zero"), ("n % m", "divides by zero"),
                                            ("k + 1", "value for k"),
    ("n * n * n * n * n * n * n", "beyond 64 bits"),
])
def test_expression_that_cannot_be_evaluated_says_why(text, part):
    with pytest.raises(ConfigError, match=part):
        parse_expression(text).evaluate({"n": 1000, "m": 0})
