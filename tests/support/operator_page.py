"""Finds things on the operator's page as a person does, by their names; and what tests put into the queue."""

import json

from playwright.sync_api import Locator, Page, expect

COUNT = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 1}}
SLOW = {"item_type": "plan", "name": "count", "args": [["det1"]], "kwargs": {"num": 200, "delay": 0.2}}
MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script><b>bold</b>"


def region(page: Page, name: str) -> Locator:
    """A part of the page."""
    return page.get_by_role("region", name=name, exact=True)


def button(page: Page | Locator, name: str) -> Locator:
    """A button."""
    return page.get_by_role("button", name=name, exact=True)


def confirm(page: Page, verb: str, saying: str = "") -> None:
    """Press the button, read the question, say yes."""
    button(page, verb).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(saying)
    dialog.get_by_role("button", name=verb, exact=True).click()


def is_possible(page: Page, name: str, timeout_s: float = 60) -> None:
    """Wait until a button can be pressed."""
    expect(button(page, name)).not_to_have_attribute("aria-disabled", "true", timeout=timeout_s * 1000)


def row(page: Page, num: int) -> Locator:
    """The row of the queue with this argument."""
    return region(page, "Queue").get_by_role("row").filter(has_text=f"num={num}")


def past(page: Page, text: str) -> Locator:
    """The newest row of the history that holds the text."""
    return region(page, "History").get_by_role("row").filter(has_text=text).first


def select(page: Page, num: int) -> None:
    """Select the row of the queue with this argument."""
    row(page, num).click()
    expect(row(page, num)).to_have_attribute("aria-selected", "true")


def fill_form(page: Page, plan: str, **fields: str) -> Locator:
    """Choose a plan and fill in its form. Gives the region."""
    add = region(page, "Add a plan")
    add.get_by_role("textbox", name="Plan", exact=True).fill(plan)
    for name, text in fields.items():
        add.get_by_role("textbox", name=name).fill(text)
    return add


def drop_file(page: Page, selector: str, name: str, text: str) -> None:
    """Drag a file from elsewhere and drop it there."""
    page.locator(selector).evaluate(
        """(place, [name, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([text], name));
            for (const type of ["dragenter", "dragover", "drop"])
                place.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: data}));
        }""",
        [name, text],
    )


def saved(page: Page, name: str) -> str:
    """What the button saves as a file."""
    with page.expect_download() as download:
        button(page, name).click()
    return download.value.path().read_text("utf-8")


def saved_json(page: Page, name: str) -> object:
    """The same, decoded."""
    return json.loads(saved(page, name))
