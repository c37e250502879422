"""The pages in a real browser, and what they refuse."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from chain_runs import TEMPLATES, run_here, settings_for

TOKEN = "a-long-secret"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """URL of the pages of a database with jobs that passed and failed."""
    home = tmp_path_factory.mktemp("web")
    settings = settings_for(home)
    for name in ("failures", "barrier"):
        run_here(settings, TEMPLATES / f"{name}.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "photometry", "chain", "web", "--port", "0", "--home", str(home)],
        env={**os.environ, "PHOTOMETRY_CHAINS_WEB_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def get(url, **options):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.fixture(scope="module")
def page(browser, site):
    context = browser.new_context()
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    context.close()


def test_the_tree_leads_to_a_task_and_says_why_it_is_blocked(page, site):
    page.goto(f"{site}?depth=3")
    assert page.title() == "Task chains"
    row = page.locator("tr", has_text="needs_bad").first
    assert "BLOCKED" in row.inner_text()
    assert "it needs the results of task" in row.inner_text()
    page.get_by_role("link", name="error bad").click()
    assert "this task fails on purpose" in page.inner_text("body")
    assert "Attempt" in page.inner_text("body")
    assert page.errors == []


def test_a_task_shows_what_it_waits_for_and_its_files(page, site):
    page.goto(f"{site}?depth=5")
    page.get_by_role("link", name="verify last").click()
    body = page.inner_text("body")
    assert "Waits for" in body
    assert "loop" in body
    assert "verification_time_max" in body
    page.goto(f"{site}directories")
    page.get_by_role("link", name="barrier").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="lc_0.lc").click()
    assert download.value.suggested_filename == "lc_0.lc"


@pytest.mark.parametrize(
    "path", ["running", "progress", "timings", "pass_fail", "timeline", "logs", "directories"]
)
def test_every_page_opens_without_an_error(page, site, path):
    answer = page.goto(site + path)
    assert answer.status == 200
    assert page.errors == []


def test_a_bar_of_the_timeline_opens_its_task(page, site):
    page.goto(f"{site}timeline")
    page.locator("svg a").first.click()
    page.wait_for_function("document.title.startsWith('Task ')")


def test_retry_needs_the_token(page, site):
    page.goto(f"{site}?depth=3")
    page.get_by_role("link", name="error bad").click()
    page.wait_for_url("**/task/*")
    task_page = page.url
    form = page.locator("form", has=page.get_by_role("button", name="Retry"))
    form.get_by_label("Token").fill("wrong")
    with page.expect_response("**/retry") as refused:
        form.get_by_role("button").click()
    assert refused.value.status == 403
    page.wait_for_url("**/retry")
    page.goto(task_page)
    form.get_by_label("Token").fill(TOKEN)
    form.get_by_role("button").click()
    page.wait_for_url("**/task/*")
    assert "READY" in page.inner_text("body")


def test_what_programs_get_is_json(site):
    for path in (
        "api/tree",
        "api/progress",
        "api/timings",
        "api/pass_fail",
        "api/logs",
        "api/task/1",
    ):
        status, content = get(site + path)
        assert (status, content[:1] in (b"[", b"{")) == (200, True)


def test_what_is_not_there_is_not_found_and_foreign_names_are_refused(site):
    assert get(site + "task/99999")[0] == 404
    assert get(site + "file/99999/x")[0] == 404
    assert get(site + "file/1/../../../etc/passwd")[0] == 404
    assert get(site, headers={"Host": "evil.example:80"})[0] == 403
    assert get(site + "task/1/cancel", data=b"token=")[0] == 403
    assert get(site + "task/1/cancel")[0] == 405
