"""The report as people meet it: opened from disk, in a browser."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from denoise.core.tables import read_table

pytestmark = pytest.mark.browser

FAULTS = {"serious", "critical"}


@pytest.fixture
def address(study):
    return (study / "reports/tried/report.html").as_uri()


@pytest.fixture(scope="session")
def board(study):
    return read_table(study / "reports/tried/leaderboard.csv").set_index("variant")


@pytest.fixture
def opened(page, address):
    page.goto(address)
    return page


def methods(page) -> list[str]:
    """The methods of the leaderboard that are seen, from the top."""
    return page.locator("table.board tbody tr:visible th").evaluate_all(
        "cells => cells.map(cell => cell.dataset.value)"
    )


def test_the_report_page_makes_no_other_requests(page, address, study):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_timeout(300)
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [address]
    assert (study / "reports/tried/report.html").stat().st_size < 15e6


def test_the_first_screen_says_which_variant_wins_and_what_it_cost(opened, board):
    variants = board[board["kind"] == "variant"]
    best = variants["si_sdr"].idxmax().removeprefix("quickstart_").replace("-", "=")
    answer = opened.locator(".answer")
    box = answer.bounding_box()
    assert box["y"] + box["height"] < 900
    text = answer.inner_text()
    # The models of the tests have been trained for moments.
    lost = board.loc["noisy", "si_sdr"] - variants["si_sdr"].max()
    assert opened.locator(".headline").inner_text() == (
        f"No variant improves on the noisy input: the best, {best}, has {lost:.1f} dB less SI-SDR"
        " (not shown)"
    )
    value = re.search(rf"{best} has ([\d.-]+) dB", text)
    assert value and float(value[1]) == pytest.approx(variants["si_sdr"].max(), abs=0.06)
    assert "parameters" in text and "95 % interval" in text and "RTF" in text
    assert "With one seed it is unknown what another training would give" in text


@pytest.mark.parametrize("width", [390, 1200])
def test_it_does_not_scroll_sideways(page, address, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("table.board").bounding_box()["width"] <= width


def test_the_leaderboard_sorts_by_any_column(opened, board):
    heading = opened.locator("table.board thead th", has_text="PESQ-NB")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert methods(opened) == list(board["pesq_nb"].sort_values(ascending=False).index)
    heading.get_by_role("button").click()
    assert methods(opened) == list(board["pesq_nb"].sort_values().index)
    opened.locator("table.board thead th", has_text="RTF").get_by_role("button").click()
    # The input and the oracle are no denoisers: rows without a value stay at the end.
    assert set(methods(opened)[-2:]) == {"noisy", "oracle"}


def test_the_leaderboard_filters_by_words(opened):
    opened.get_by_role("searchbox").fill("variant mae")
    (left,) = methods(opened)
    assert "mae" in left
    assert "1 of" in opened.locator(".filter output").inner_text()
    opened.get_by_role("searchbox").fill("nothing of this name")
    assert methods(opened) == []


def test_hiding_a_method_removes_it_from_all_figures_and_tables(opened):
    button = opened.locator(".methods button", has_text="rnnoise")
    number = button.get_attribute("data-method")
    drawn = opened.locator(f'svg [data-series="{number}"]:visible')
    assert drawn.count() >= 3
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert drawn.count() == 0 and "rnnoise" not in methods(opened)
    opened.locator('.methods button[data-all="true"]').click()
    assert "rnnoise" in methods(opened)


def test_files_of_figures_and_tables_come_from_the_page_alone(page, study, tmp_path):
    report = study / "reports/tried"
    (tmp_path / "report.html").write_bytes((report / "report.html").read_bytes())
    page.goto((tmp_path / "report.html").as_uri())
    for path in ("tables/test-leaderboard.tex", "figures/test-by-snr-si_sdr.pdf",
                 "figures/test-by-snr-si_sdr.csv", "paper/references.bib"):  # fmt: skip
        with page.expect_download() as started:
            page.locator(f'a[href="{path}"]').first.click()
        assert started.value.suggested_filename == path.split("/")[1]
        started.value.save_as(tmp_path / "saved")
        assert (tmp_path / "saved").read_bytes() == (report / path).read_bytes()


def test_all_settings_of_a_variant_are_one_click_away(opened):
    row = opened.locator("table.board tbody tr", has_text="loss=mae")
    row.locator("summary").click()
    assert "training.loss: mae" in row.inner_text() and "quickstart_loss-mae" in row.inner_text()
    row.get_by_role("link", name="the whole configuration").click()
    assert opened.locator("pre:visible", has_text='"loss": "mae"').count() == 1


def test_any_two_methods_are_compared(opened, study):
    pairs = pd.read_csv(study / "reports/tried/pairwise.csv")
    pair = pairs[pairs["metric"] == "pesq_nb"].iloc[3]
    box = opened.locator(".compare")
    for one, other, sign in (("first", "second", 1), ("second", "first", -1)):
        box.get_by_label("First").select_option(pair[one])
        box.get_by_label("Second").select_option(pair[other])
        row = box.locator("tr", has_text="PESQ-NB")
        shown = row.locator("td").all_inner_texts()
        rounding = 0.51 * 10.0 ** -len(shown[0].partition(".")[2])
        assert rounding < 0.06 * (pair["ci_high"] - pair["ci_low"]) / 2
        assert float(shown[0]) == pytest.approx(sign * pair["difference"], abs=rounding)
        ends = [float(x) for x in shown[1].split("…")]
        wanted = sorted(sign * pair[name] for name in ("ci_low", "ci_high"))
        assert ends == pytest.approx(wanted, abs=rounding)
        if 0.001 <= pair["p_holm"] <= 0.99:
            assert float(shown[2]) == pytest.approx(pair["p_holm"], rel=0.06)
        else:
            assert shown[2] == ("< 0.001" if pair["p_holm"] < 0.001 else "> 0.99")
        better = pair[one] if sign * pair["difference"] > 0 else pair[other]
        better = better.removeprefix("quickstart_").replace("-", "=")
        told = {"models": f"{better} is better, as far as these models show"}
        assert shown[4] == told.get(pair["claim"], "not shown")
        assert shown[6] == "–" or re.fullmatch(r"\d+ speakers \(\d+ utterances\)", shown[6])
    box.get_by_label("Second").select_option(pair["second"])
    assert "the same method" in box.inner_text()
    box.get_by_label("Figure").select_option("STOI")
    assert box.locator("figcaption").inner_text().startswith("STOI of each utterance")


def test_a_player_switches_signals_during_playback(opened):
    box = opened.locator(".player").first
    box.scroll_into_view_if_needed()
    box.locator("canvas").wait_for()
    opened.wait_for_function("document.querySelector('.player').dataset.drawn === 'noisy'")
    before = box.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    box.get_by_role("button", name="Play").click()
    opened.wait_for_function(
        "parseFloat(document.querySelector('.player .clock').textContent) > 0.2"
    )
    place = float(box.locator(".clock").inner_text().split()[0])
    box.get_by_text("clean", exact=True).click()
    opened.wait_for_function("document.querySelector('.player').dataset.drawn === 'clean'")
    assert float(box.locator(".clock").inner_text().split()[0]) >= place
    assert box.get_by_role("button", name="Pause").count() == 1
    assert box.locator("canvas").evaluate("canvas => canvas.toDataURL()") != before
    assert box.locator("canvas").get_attribute("aria-label") == "Spectrogram of clean"
    opened.keyboard.press("n")
    opened.wait_for_function("document.querySelector('.player').dataset.drawn === 'noisy'")
    opened.keyboard.press(" ")
    assert box.get_by_role("button", name="Play").count() == 1
    # Another player stops this one.
    other = opened.locator(".player").nth(1)
    box.get_by_role("button", name="Play").click()
    other.get_by_role("button", name="Play").click()
    box.get_by_role("button", name="Play").wait_for()


def test_the_signals_of_a_player_have_equal_length(opened):
    """They are only in step with each other if their decoders begin at the same place."""
    found = opened.evaluate(
        """async () => {
          const {rate, sources} = JSON.parse(document.querySelector(".player script").textContent);
          const switcher = new Switcher(sources, rate);
          await switcher.load();
          return switcher.buffers.map((buffer) => [buffer.length, buffer.sampleRate]);
        }"""
    )
    assert len(found) >= 5
    assert len({tuple(one) for one in found}) == 1 and found[0][1] == 8000


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "light")])
def test_axe_finds_no_serious_fault(browser, address, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    for details in page.locator("details").all():
        details.evaluate("one => { one.open = true }")
    found = axe.Axe().run(page).response["violations"]
    context.close()
    serious = {
        one["id"]: [node["html"][:200] for node in one["nodes"][:3]]
        for one in found
        if one["impact"] in FAULTS
    }
    assert not serious


def test_printing_shows_the_results_without_interactive_elements(opened):
    opened.emulate_media(media="print")
    assert opened.locator("table.board").is_visible()
    assert opened.locator(".answer").is_visible()
    assert not opened.locator("nav").is_visible()
    assert opened.locator(".player:visible").count() == 0
    assert opened.pdf()[:5] == b"%PDF-"
    assert opened.locator("details:not([open]):not(:has(pre))").count() == 0


def test_results_are_shown_without_javascript(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("table.board tbody tr").count() >= 5
    assert page.locator("figure svg").count() >= 6
    assert "needs JavaScript" in page.locator(".player").first.inner_text()
    context.close()
