"""The tab "label sets" as somebody uses it."""

from __future__ import annotations

from playwright.sync_api import FilePayload, Locator, expect

from tests.external.browser.visit import Tab


class LabelSets(Tab):
    """The tab, open in a page."""

    @property
    def panel(self) -> Locator:
        return self.page.locator("#label-sets")

    @property
    def changes(self) -> Locator:
        return self.panel.locator("[data-place=changes]")

    def open(self) -> LabelSets:
        self.page.goto(f"{self.url}/#label-sets")
        expect(self.page.locator("#set-add")).to_be_visible()
        return self

    def make(self, name: str, *labels: str, background: str = "") -> None:
        """Fill in a new set; it is not saved."""
        self.page.fill("#set-name", name)
        self.page.fill("#set-add", ",".join([*labels, ""]))
        self.page.fill("#set-background", f"{background}," if background else "")

    def label(self, name: str) -> Locator:
        return self.panel.get_by_role("group", name=f"Label {name}", exact=True)

    def give(self, label: str, name: str, content: bytes) -> None:
        """An example photo of a label, as in the dialog."""
        self.label(label).locator("input[type=file]").first.set_input_files(_file(name, content))
        expect(self.label(label).locator(".thumbnails")).to_contain_text(name)

    def press(self, button: str) -> None:
        self.panel.get_by_role("button", name=button).click()

    def save(self) -> None:
        """And wait until the page says so."""
        self.press("Save")
        expect(self.page.locator("#announcer")).to_contain_text("Saved.")

    def attempt(self, **pictures: bytes) -> None:
        """Choose pictures to be classified."""
        files = [_file(f"{name}.jpg", each) for name, each in pictures.items()]
        self.panel.locator("[data-place=pictures] input[type=file]").first.set_input_files(files)
        expect(self.panel.locator(".said")).to_have_count(len(pictures))
        expect(self.panel.locator("[data-place=tried]")).to_have_attribute("aria-busy", "false")

    def tried(self) -> dict[str, str]:
        """Name of a picture -> what is said of it."""
        items = self.panel.locator("[data-place=tried] li").all()
        return {each.locator(".name").inner_text(): each.locator(".said").inner_text() for each in items}

    def mark_wrong(self, picture: str, label: str) -> None:
        """Say which label is right."""
        self.panel.get_by_label(f"Wrong: {picture}").click()
        self.panel.get_by_label(f"Right label of {picture}").select_option(label)
        self.press("Add to its examples")
        expect(self.label(label).locator(".thumbnails")).to_contain_text(picture)


def _file(name: str, content: bytes) -> FilePayload:
    return FilePayload(name=name, mimeType="image/jpeg", buffer=content)
