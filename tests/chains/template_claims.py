"""What each template of todo_templates/chains must come to, however it is run."""

import json

from chain_runs import TEMPLATES, names_by_state


def chain_of(name):
    """A template as dict; the two that take long, with fewer and shorter light curves."""
    chain = json.loads((TEMPLATES / f"{name}.json").read_text())
    if name == "completeness":
        loop = chain["task_list"][0]
        loop["log_range"] = [0.05, 0.5, 2]
        loop["task_list"][0]["log_range"] = [2, 4, 1]
        loop["task_list"][0]["task_list"][0]["values"] = [0]
    elif name == "synthesis_and_search":
        synthesis, search = chain["task_list"]
        synthesis["specs"]["sampling_cadence"] = 1800
        search["search_settings"] = {"period_min": 300}
    return chain


def three_nulls(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    assert [task["type"] for task in found["tasks"]] == ["execution_chain", *["null"] * 3]
    assert {task["directory"] for task in found["tasks"]} == {"my_example"}
    assert all(task["passed"] and task["attempts"] == 1 for task in found["tasks"])


def nested_chain(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    jobs = {name: task["job"] for name, task in found["by_name"].items()}
    assert jobs == {
        "outer": "nested_chain",
        **dict.fromkeys(("group", "inner", "innermost"), "inner_job"),
    }
    assert found["by_name"]["innermost"]["directory"] == "nested_chain/inner"


def for_loops(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    results = {t["name"]: t["metadata"]["product"] for t in found["tasks"] if t["type"] == "null"}
    expected = {
        f"{method}_{i}_{j}": (2 + i) * radius
        for method in ("tls", "bls")
        for i in range(3)
        for j, radius in enumerate((0.1, 10.0))
    }
    assert set(results) == set(expected)
    assert all(abs(results[name] - expected[name]) < 1e-9 for name in expected)
    # a loop of n values over m tasks makes 1 + n (1 + m) tasks
    assert len(found["tasks"]) == 1 + 1 + 2 * (1 + 1 + 3 * (1 + 1 + 2 * (1 + 1)))


def conditional(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    assert set(found["by_name"]) == {"search", "chosen", "otherwise"}


def do_while_loop(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    halves = [task for task in found["tasks"] if task["name"] == "half"]
    assert [task["metadata"]["value"] for task in halves] == [8.0, 4.0, 2.0]
    assert [task["metadata"]["step_index"] for task in halves] == [1, 2, 3]
    loop = [
        task for task in found["tasks"] if task["id"] != found["id"] and task["name"] != "after"
    ]
    assert len(loop) == 1 + 3 * 3  # as counted on the original


def metadata(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    measured, derived = (found["by_name"][name]["metadata"] for name in ("measured", "derived"))
    kept = {key: measured[key] for key in ("whole", "number", "text", "truth", "list")}
    assert kept == {"whole": 3, "number": 2.5, "text": "900", "truth": True, "list": [1, 2]}
    assert isinstance(measured["whole"], int)
    assert measured["truth"] is True
    assert derived["sum"] == 5.5
    assert derived["scaled"] == 20
    assert derived["label"] == "TESS-003"
    assert derived["circle"] == 6.283
    assert derived["same_draw"] == measured["draw"]


def files(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    check = found["by_name"]["check"]["metadata"]
    assert check["verification"] is True
    # depth of a planet of 1 Jupiter radius before a star of 9.73
    assert abs(1 - check["verification_flux_min"] - (1 / 9.728) ** 2) < 0.002
    products = [product for task in found["tasks"] for product in task["products"].values()]
    assert len(products) == 4
    assert all(product["passed"] for product in products)


def barrier(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    assert found["by_name"]["last"]["metadata"]["verification"] is True


def failures(found, code):
    assert (code, found["state"]) == (1, "FAILED")
    assert names_by_state(found) == {
        "FAILED": ["bad"],
        "BLOCKED": ["needs_bad", "needs_needs_bad", "waits"],
        "PASSED": ["independent"],
    }
    assert "fails on purpose" in found["by_name"]["bad"]["reason"]
    assert "(bad), which is FAILED" in found["by_name"]["needs_bad"]["reason"]


def retries(found, code):
    assert (code, found["state"]) == (1, "FAILED")
    attempts = {name: task["attempts"] for name, task in found["by_name"].items()}
    assert attempts == {"flaky": 3, "after": 1, "hopeless": 2}
    assert names_by_state(found) == {"PASSED": ["after", "flaky"], "FAILED": ["hopeless"]}


def quality_control(found, code):
    assert (code, found["state"]) == (1, "FAILED")
    assert names_by_state(found) == {
        "QC_FAILED": ["doubtful"],
        "BLOCKED": ["needs_doubtful"],
        "PASSED": ["urgent"],
    }
    assert found["by_name"]["doubtful"]["attempts"] == 1
    assert found["by_name"]["doubtful"]["reason"] == "the value is out of range"


def searches(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    done = [task for task in found["tasks"] if task["name"] == "found"]
    assert {task["type"] for task in done} == {
        f"transit_search_{name}" for name in ("tls", "bls_reference", "bls_kovacs", "qats")
    }
    for task in done:
        assert task["metadata"]["outcome"] == "PASS"
        assert abs(task["metadata"]["period"] / 4.3 - 1) < 0.03
        assert task["metadata"]["target_period"] == 4.3


def completeness(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    picture = found["by_name"]["picture"]
    assert picture["metadata"]["searches"] == 4
    # the large one is found; whether the small one is, is chance
    assert picture["metadata"]["transit_search_tls_completeness"] >= 0.5
    assert all(product["passed"] and product["size"] for product in picture["products"].values())


def synthesis_and_search(found, code):
    assert (code, found["state"]) == (0, "PASSED")
    synthesis = found["by_name"]["synthesis_step"]["metadata"]
    assert synthesis["planet_radius"] == 0.08911486
    # the two transits of the Earth last 13 h, 26 samples
    assert 48 <= synthesis["pixels_in_transit"] <= 54
    search = found["by_name"]["transit_detection_step"]["metadata"]
    assert search["target_period"] == 365
    assert search["outcome"] in ("PASS", "FAIL")


CLAIMS = {
    function.__name__: function
    for function in (
        *(three_nulls, nested_chain, for_loops, conditional, do_while_loop, metadata, files),
        *(barrier, failures, retries, quality_control),
        *(searches, completeness, synthesis_and_search),
    )
}
