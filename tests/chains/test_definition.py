"""Definitions: what is wrong is found before anything is stored, with its line; what is counted is
what is made."""

import json

import pytest
from chain_runs import TEMPLATES, command_line, run_here, settings_for
from hypothesis import assume, given
from hypothesis import strategies as st

from photometry.chains import jobs
from photometry.chains.definition import parse_definition, read_definition, validate
from photometry.chains.reading import parse_json, parse_toml
from photometry.errors import WrongUseError


def problems_of(chain, **options):
    text = chain if isinstance(chain, str) else json.dumps(chain, indent=1)
    with pytest.raises(WrongUseError) as refusal:
        validate(parse_definition(text, source="chain.json"), **options)
    return str(refusal.value)


def chain(*tasks, **keys):
    return {"job_name": "j", "working_directory": "d", "task_list": list(tasks), **keys}


SECOND_EXAMPLE = (
    (TEMPLATES / "synthesis_and_search.json")
    .read_text()
    .replace('"orbital_angle": 0', '"orbital_angle": 0,')
)


def test_the_trailing_comma_of_the_second_example_is_named(tmp_path):
    """docs/chains.md quotes this message."""
    path = tmp_path / "chain.json"
    path.write_text(SECOND_EXAMPLE)
    done = command_line("run", path, env={"PHOTOMETRY_CHAINS_HOME": str(tmp_path / "home")})
    assert done.returncode == 2
    message = "line 16, column 27: trailing comma before the '}' that ends the object: remove it"
    assert done.stderr.strip() == f"photometry: {path}: {message}"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text ends too early"),
        ('{"a": 1', "the text ends too early"),
        ('{"a" 1}', "line 1, column 6: expected ':' after the key 'a'"),
        ("{'a': 1}", "line 1, column 2: expected the name of a key in double quotes"),
        ('{"a": b}', "line 1, column 7: 'b': strings stand in double quotes"),
        ('{"a": [1,\n 2,]}', "line 2, column 3: trailing comma before the ']'"),
        ('{"a": 1}\n x', "line 2, column 2: the text goes on"),
        ('{"a": 1, "a": 2}', "key 'a' is given twice"),
        ('{"a": "\\x"}', "escape"),
        ('{"a": 01}', "expected ',' or '}'"),
        ("[" * 500, "nested deeper than 200 levels"),
        ("[1]", "expected an object"),
    ],
)
def test_syntax_errors_have_line_and_column(text, message):
    with pytest.raises(WrongUseError) as refusal:
        parse_definition(text)
    assert message in str(refusal.value)


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.json")), ids=lambda path: path.stem)
def test_own_reader_agrees_with_json(path):
    assert parse_json(path.read_text())[0] == json.loads(path.read_text())
    odd = '{"a": [1, -2.5e3, true, null, "\\u2609\\n", {}, []], "b": {"c": "d"}}'
    assert parse_json(odd)[0] == json.loads(odd)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([{"task": "nul"}], "there is no task type 'nul'; did you mean 'null'?"),
        ([{"tsk": "null"}], "has no 'task'"),
        ([{"task": "null", "slep": 1}], "unknown key 'slep'; did you mean 'sleep'?"),
        ([{"task": "null", "sleep": "long"}], "sleep='long': expected a number"),
        (
            [{"task": "transit_search_dst_v26", "inputs": {"lightcurve": "a"}, "lc_duration": 1}],
            "DST is not public",
        ),
        ([{"task": "transit_search_exotrans", "lc_duration": 1}], "EXOTRANS is not public"),
        (
            [{"task": "synthesis_platosim", "outputs": {"lightcurve": "a"}}],
            "PlatoSim is not public",
        ),
        (
            [{"task": "verify", "inputs": {"lightcurve": "a.lc"}}],
            "nobody makes the input 'lightcurve': 'a.lc'",
        ),
        ([{"task": "verify"}], "verify needs inputs: 'lightcurve'"),
        (
            [{"task": "verify", "inputs": {"lightcurv": "a"}}],
            "no input 'lightcurv'; did you mean 'lightcurve'?",
        ),
        ([{"task": "synthesis_batman"}], "needs outputs: 'lightcurve'"),
        (
            [
                {
                    "task": "synthesis_batman",
                    "outputs": {"lightcurve": "a"},
                    "specs": {"planet_radus": 1},
                }
            ],
            "unknown key 'planet_radus'; did you mean 'planet_radius'?",
        ),
        (
            [{"task": "synthesis_batman", "outputs": {"lightcurve": "a"}}] * 2,
            "the output 'a' is made by chain.json",
        ),
        ([{"task": "null", "outputs": {"x": "../a"}}], "file name '../a'"),
        ([{"task": "null", "working_directory": "/etc"}], "working_directory='/etc'"),
        ([{"task": "null", "working_directory": "a/../../b"}], "without '..'"),
        (
            [{"task": "null", "requires_metadata_from": ["x"]}],
            "no earlier task of the list has that name",
        ),
        (
            [{"task": "null", "name": "search"}, {"task": "null", "wait_for": ["serch"]}],
            "did you mean 'search'?",
        ),
        ([{"task": "null", "sleep": "(sleeep)"}], "name 'sleeep' is not defined"),
        ([{"task": "null", "sleep": "(1 +)"}], "invalid syntax"),
        (
            [{"task": "null", "sleep": "(constants.dya)"}],
            "there is no constants.dya; did you mean 'day'?",
        ),
        ([{"task": "null", "sleep": "(metadata['i'])"}], "metadata has no 'i' here"),
        (
            [{"task": "null", "sleep": "(requested_metadata['a']['b'])"}],
            "needs 'a' in requires_metadata_from",
        ),
        (
            [{"task": "execution_conditional", "criterion": "1 > 2", "task_list": []}],
            "is a string, which is always true",
        ),
        (
            [{"task": "execution_for_loop", "parameter": "i", "task_list": []}],
            "found none of values, linear_range and log_range",
        ),
        (
            [
                {
                    "task": "execution_for_loop",
                    "parameter": "i",
                    "values": [1],
                    "linear_range": [0, 1, 2],
                    "task_list": [],
                }
            ],
            "found values and linear_range of",
        ),
        (
            [
                {
                    "task": "execution_for_loop",
                    "parameter": "i",
                    "log_range": [0, 1, 2],
                    "task_list": [],
                }
            ],
            "the limits have to be above 0",
        ),
        (
            [
                {
                    "task": "execution_for_loop",
                    "parameter": "i",
                    "values": [1, 2],
                    "task_list": [{"task": "null", "outputs": {"x": "same"}}],
                }
            ],
            "the output 'same' is the same in each round of the loop",
        ),
        (
            [
                {
                    "task": "execution_do_while_loop",
                    "iteration_name": "n",
                    "repeat_criterion": "yes",
                    "requires_metadata_from_child": [],
                    "task_list": [],
                }
            ],
            "repeat_criterion='yes': is a string",
        ),
        (
            [
                {
                    "task": "execution_do_while_loop",
                    "iteration_name": "n",
                    "repeat_criterion": "(0)",
                    "requires_metadata_from_child": ["x"],
                    "task_list": [{"task": "null"}],
                }
            ],
            "names 'x', which no task of the list has",
        ),
        (
            [
                {
                    "task": "execution_chain",
                    "name": "c",
                    "task_list": [{"task": "synthesis_batman", "outputs": {"lightcurve": "a"}}],
                },
                {"task": "verify", "inputs": {"lightcurve": "a"}},
            ],
            "is made inside an earlier loop or chain: name that in wait_for",
        ),
        (
            [{"task": "null", "max_attempts": 0}],
            "max_attempts=0: expected a whole number, 1 or more",
        ),
        ([{"task": "null", "timeout": -1}], "timeout=-1: expected seconds"),
        (["null"], "is a str, expected an object"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tasks, message):
    found = problems_of(chain(*tasks))
    assert message in found
    assert "chain.json: line " in found


def test_keys_of_the_chain_are_checked():
    assert "unknown key 'jobname'; did you mean 'job_name'?" in problems_of(
        {"jobname": "j", "task_list": []}
    )
    assert "has no 'task_list'" in problems_of({"job_name": "j"})
    assert "expected a whole number" in problems_of(chain(seed="x"))


def test_all_problems_are_told_at_once():
    found = problems_of(chain({"task": "nul"}, {"task": "null", "slep": 1}))
    assert len(found.splitlines()) == 2


def test_toml_says_where_it_is_wrong():
    with pytest.raises(WrongUseError, match="line 2"):
        parse_definition("a = 1\nb = = 2\n", is_toml=True)


TOML = """
# a comment
job_name = "[a]" # another
"working_directory" = '''
x'''

[metadata]
a.b = 1
[[task_list]]
task = "nul"
[[task_list]]
task = "null"
slep = 1  # [[task_list]]
[[task_list]]
task = "execution_for_loop"
parameter = "i"
values = [
    1,  # ]
    2,
]
[[task_list.task_list]]
task = "null"
[[task_list.task_list]]
task = "null"
results = {x = 1, y = ["}", "(constants.dya)"]}
[[task_list]]
task = "execution_conditional"
criterion = "1 > 2"
task_list = [
  {task = "null", sleep = "long"}]
"""


def test_what_is_wrong_in_toml_is_reported_with_its_line():
    with pytest.raises(WrongUseError) as refusal:
        validate(parse_definition(TOML, source="c.toml", is_toml=True))
    expected = (
        ("c.toml: line 10: task_list[0].task", "did you mean 'null'"),
        ("c.toml: line 13: task_list[1].slep", "did you mean 'sleep'"),
        ("c.toml: line 25: task_list[2].task_list[1].results.y[1]", "did you mean 'day'"),
        ("c.toml: line 28: task_list[3].criterion", "always true"),
        ("c.toml: line 30: task_list[3].task_list[0].sleep", "expected a number"),
    )
    for message, (where, what) in zip(str(refusal.value).splitlines(), expected, strict=True):
        assert message.startswith(f"{where}: ")
        assert what in message


def paths(value, path=()):
    """The paths of all values in a value."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*path, key))


def as_toml(value):
    """A value as inline TOML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k)} = {as_toml(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return "[\n" + "".join(f"  {as_toml(item)}, # ]\n" for item in value) + "]"
    return json.dumps(value)


TEXT = st.text(st.characters(codec="ascii", exclude_characters="\x7f"), max_size=5)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(TEXT, VALUES, max_size=5), st.lists(st.dictionaries(TEXT, VALUES), max_size=3)
)
def test_every_value_of_a_toml_text_has_a_line(values, tables):
    lines = [f"{json.dumps(key)} = {as_toml(value)}" for key, value in values.items()]
    for table in tables:
        lines.append("[[ t . 'a b' ]]")
        lines += [f"{json.dumps(key)} = {as_toml(value)}" for key, value in table.items()]
    assume("t" not in values)
    found, positions = parse_toml("\n".join(lines))
    assert found == values | ({"t": {"a b": tables}} if tables else {})
    assert set(positions) == set(paths(found))


def test_unknown_names_in_loops_are_known_inside_only():
    loop = {
        "task": "execution_for_loop",
        "parameter": "i",
        "values": [1],
        "task_list": [{"task": "null", "sleep": "(metadata['i'] + metadata['i_index'])"}],
    }
    assert validate(parse_definition(json.dumps(chain(loop)))).count == 4
    assert "metadata has no 'i' here" in problems_of(chain(loop, loop["task_list"][0]))


@pytest.mark.parametrize("name", ["three_nulls", "nested_chain", "for_loops", "files", "barrier"])
def test_the_count_of_a_dry_run_is_what_is_made(name, tmp_path):
    outline = validate(read_definition(TEMPLATES / f"{name}.json"))
    assert outline.exact
    _, found = run_here(settings_for(tmp_path), TEMPLATES / f"{name}.json")
    assert outline.count == len(found["tasks"])
    made = {}
    for task in found["tasks"]:
        made[task["type"]] = made.get(task["type"], 0) + 1
    assert dict(outline.types) == made


def test_large_loops_are_counted_without_making_each():
    inner = {"task": "null"}
    for name in "abcd":
        inner = {
            "task": "execution_for_loop",
            "parameter": name,
            "linear_range": [0, 1, 30],
            "task_list": [inner],
        }
    outline = validate(parse_definition(json.dumps(chain(inner))))
    n = 1
    for _ in range(4):
        n = 1 + 30 * (1 + n)
    assert outline.count == 1 + n
    assert outline.types["null"] == 30**4


def test_dry_run_stores_nothing(tmp_path):
    done = command_line(
        "run", TEMPLATES / "for_loops.json", "--dry-run", "--home", tmp_path / "home", "--json"
    )
    assert json.loads(done.stdout)["tasks"] == 42
    assert not (tmp_path / "home").exists()


def test_a_chain_runs_again_only_with_replace_or_new_run(tmp_path):
    settings = settings_for(tmp_path)
    path = TEMPLATES / "barrier.json"
    code, first = run_here(settings, path)
    assert code == 0
    with pytest.raises(WrongUseError, match="--replace or --new-run"):
        run_here(settings, path)
    code, second = run_here(settings, path, new_run=True)
    assert code == 0
    assert second["by_name"]["last"]["directory"] == "barrier/run_0001"
    old = settings.file_store / first["tasks"][-1]["directory"]
    assert any(old.iterdir())
    code, third = run_here(settings, path, replace=True)
    assert code == 0
    database = jobs.existing_database(settings)
    assert database.read(lambda db: jobs.roots_of(db, "barrier")) == [third["id"]]
    database.close()
    assert len(list(settings.file_store.rglob("*.lc"))) == 3


def test_the_same_seed_makes_the_same_light_curves(tmp_path):
    task = {
        "task": "synthesis_batman",
        "name": "lc",
        "outputs": {"lightcurve": "a.lc"},
        "specs": {
            "duration": 1,
            "sampling_cadence": 600,
            "noise": 0.001,
            "t0": "(random.random())",
        },
    }

    def md5(folder, seed):
        _, found = run_here(settings_for(tmp_path / folder), chain(task), seed=seed)
        return found["by_name"]["lc"]["products"]["lightcurve"]["md5"]

    assert md5("a", 1) == md5("b", 1) != md5("c", 2)
