"""The report: one well-formed page that fetches nothing, says every number it was given, and escapes what it was given."""

import base64
import copy
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from PIL import Image

from sycam.errors import SycamError
from sycam.run.report import write_report
from sycam.run.report.plots import incumbent_plot, whisker_plot

VOID = {"meta", "img", "br", "hr", "link", "input"}


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(file, "PNG")
    return file.getvalue()


def around(mean, half):
    return {"mean": mean, "lo": mean - half, "hi": mean + half}


def realistic():
    return {
        "title": "A CAM for MobileNetV2",
        "verdict": "The answer beats Grad-CAM on held-out images.",
        "answer": {
            "expression": "(m* (mrelu G) A)",
            "define_fun": "(define-fun cam () Map\n  (m* (mrelu G) A))",
            "sort": "Map",
            "size": 4,
        },
        "metric": {"name": "average-gain", "direction": "high", "source": "Opti-CAM"},
        "protocol": "adcc: mean colour, predicted class",
        "network": {"name": "mobilenet_v2", "parameters": 3504872},
        "images": {"searched_on": 500, "folder": "imagenet/"},
        "rows": [
            {
                "name": "Grad-CAM",
                "expression": "(scale (gap G) A)",
                "derived": True,
                "kind": "known",
                "search": around(0.152, 0.03),
                "held_out": around(0.1471, 0.028),
                "difference": around(-0.031, 0.012),
            },
            {
                "name": "answer",
                "expression": "(m* (mrelu G) A)",
                "derived": True,
                "kind": "answer",
                "search": around(0.203, 0.03),
                "held_out": around(0.1781, 0.028),
                "difference": None,
            },
            {
                "name": "Score-CAM",
                "expression": "(scale score A)",
                "derived": False,
                "kind": "known",
                "search": around(0.196, 0.03),
                "held_out": around(0.1941, 0.03),
                "difference": around(0.016, 0.011),
            },
            {
                "name": "Fake-CAM",
                "expression": None,
                "derived": None,
                "kind": "control",
                "search": None,
                "held_out": around(0.0031, 0.002),
                "difference": around(0.001, 0.02),
            },
            {"name": "failed", "kind": "known", "derived": False, "search": None, "held_out": None},
        ],
        "counts": {
            "terms": 183204,
            "candidates": 20199,
            "strange_count": 7,
            "seconds": {"enumerate": 25.0, "score": 75.0},
        },
        "incumbents": [
            {"candidate": 0, "seconds": 3.1, "expression": "(scale (gap G) A)", "score": 0.152},
            {"candidate": 1893, "seconds": 130.44, "expression": "(m* (mrelu G) A)", "score": 0.203},
        ],
        "stop_reason": "the grammar is exhausted",
        "pictures": [{"caption": "one", "png": png("red")}, {"caption": "two", "png": png("blue")}],
        "manifest": {"torch": "2.6", "seeds": {"split": 0, "order": 12345}, "layers": ["a", "b"]},
    }


class Page(HTMLParser):
    """Tags that are opened and not closed, links out of the page, and the words outside of tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.crossed, self.links, self.tags, self.words = [], [], [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, words):
        if not self.open or self.open[-1] != "style":
            self.words.append(words)


@pytest.fixture
def report(tmp_path):
    def write(data):
        write_report(tmp_path / "report.html", data)
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write


def test_the_page_is_well_formed_and_fetches_nothing(report):
    text = report(realistic())
    page = Page(text)
    assert (page.open, page.crossed) == ([], [])
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import", text)
    # A namespace is a name, not an address; nothing else on the page may look like one.
    assert {*re.findall(r"https?://[^\"'<\s]+", text)} <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_every_number_is_said(report):
    text = Page(report(realistic())).text
    for said in (
        "17.81 [15.01, 20.61]",
        "−3.10 [−4.30, −1.90] answer better",
        "+1.60 [+0.50, +2.70] answer worse",
        "no difference shown",
        "20.30 [17.30, 23.30]",
        "in the grammar",
        "outside of the grammar",
        "average-gain, per cent",
        "183,204 terms enumerated",
        "7 strange count",
        "enumerate 25.0 s (25%)",
        "1,893 130.4 20.30 (m* (mrelu G) A)",
        "the grammar is exhausted",
        "Protocol: adcc: mean colour, predicted class.",
        "3,504,872",
        "seeds split 0 order 12,345",
        "layers a, b",
        "(define-fun cam () Map (m* (mrelu G) A))",
        "of sort Map, size 4",
    ):
        assert said in text, said


def test_rows_are_sorted_best_first_whichever_way_is_better(report):
    data = realistic()
    names = ["Score-CAM", "answer", "Grad-CAM", "Fake-CAM", "failed"]
    assert re.findall(r'class="who">([^<]+)', report(data)) == names
    data["metric"]["direction"] = "low"
    text = report(data)
    assert re.findall(r'class="who">([^<]+)', text) == [*names[3::-1], "failed"]
    words = Page(text).text
    assert "−3.10 [−4.30, −1.90] answer worse" in words
    assert "lower is better" in words


def test_scores_that_are_no_percentages(report):
    data = realistic()
    data["metric"]["percent"] = False
    text = Page(report(data)).text
    assert "0.18 [0.15, 0.21]" in text
    assert "per cent" not in text


def test_pictures_are_inside_as_they_were_given(report):
    data = realistic()
    sources = re.findall(r'<img src="data:image/png;base64,([^"]+)"', report(data))
    assert [base64.b64decode(source) for source in sources] == [picture["png"] for picture in data["pictures"]]


def hostile(thing):
    """The same data, every text of it an attempt to leave its place."""
    attack = "<script>alert('$x$ & \"y\"')</script>"
    if isinstance(thing, dict):
        return {key: value if key in ("kind", "direction") else hostile(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [hostile(value) for value in thing]
    return attack if isinstance(thing, str) else thing


def test_nothing_that_is_given_becomes_markup(report):
    page = Page(report(hostile(realistic())))
    assert (page.open, page.crossed) == ([], [])
    assert "script" not in page.tags
    assert page.text.count("alert('$x$ & \"y\"')") > 20


def test_parts_may_be_left_out(report):
    data = {key: realistic()[key] for key in ("title", "answer", "metric", "rows")}
    text = Page(report(data)).text
    assert "Scores" in text
    for heading in ("Search", "Pictures", "How it was measured", "Protocol"):
        assert f" {heading} " not in text
    bare = report({"title": "t", "answer": {"expression": "A"}, "metric": {"name": "iou", "direction": "high"}, "rows": []})
    assert "Scores" not in bare
    everything = realistic() | dict.fromkeys(set(realistic()) - set(data))
    assert Page(report(everything)).text == text


def test_the_data_is_not_changed_and_the_page_repeats(report):
    data = realistic()
    before = copy.deepcopy(data)
    assert report(data) == report(data)
    assert data == before


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda data: data.pop("rows"), "a report needs 'rows'; its data has title"),
        (lambda data: data["answer"].pop("expression"), "a report's answer needs 'expression'; it has define_fun"),
        (lambda data: data["metric"].update(direction="up"), "direction 'high' or 'low', not 'up'"),
        (lambda data: data["rows"][0].update(kind="other"), "a kind, 'answer', 'single', 'known' or 'control'"),
        (lambda data: data["rows"][0].pop("name"), "needs a name and a kind"),
        (lambda data: data["pictures"][1].update(png=b"GIF89a"), "the picture 'two' is no PNG"),
    ],
)
def test_data_that_make_no_report(report, break_it, message):
    data = realistic()
    break_it(data)
    with pytest.raises(SycamError, match=message):
        report(data)


def test_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(SycamError, match=r"cannot write the report .*: No such file or directory"):
        write_report(tmp_path / "nowhere" / "report.html", realistic())


# Plots


def drawn(svg, group):
    """The first path of each part of the plot whose id begins so: its points, in the order drawn."""
    tree = ElementTree.fromstring(svg)
    paths = []
    for part in tree.iter("{http://www.w3.org/2000/svg}g"):
        path = part.find("{http://www.w3.org/2000/svg}path")
        if part.get("id", "").startswith(group) and path is not None and path.get("clip-path"):
            numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", path.get("d"))]
            paths.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return paths


def test_whiskers_are_as_long_as_their_intervals():
    rows = [
        {"name": "wide", "kind": "known", "held_out": {"mean": 20, "lo": 10, "hi": 30}},
        {"name": "narrow", "kind": "control", "held_out": {"mean": 5, "lo": 0, "hi": 10}},
    ]
    svg = whisker_plot(rows, "score")
    wide, narrow = (path for path in drawn(svg, "whiskers-line2d") if len(path) == 2 and path[0][1] == path[1][1])
    assert wide[1][0] - wide[0][0] == pytest.approx(2 * (narrow[1][0] - narrow[0][0]), rel=1e-4)
    assert wide[0][0] == pytest.approx(narrow[1][0], rel=1e-6)  # both at 10
    assert wide[0][1] < narrow[0][1]  # the first on top
    assert "var(--ink)" in svg
    assert "var(--quiet)" in svg
    assert "#0" not in re.sub(r'"#[^"]*[a-z][^"]*"', "", svg)  # no sentinel colour is left


def test_incumbents_are_a_stair_that_ends_at_the_last_candidate():
    history = [{"candidate": 0, "score": 1.0}, {"candidate": 9, "score": 2.0}, {"candidate": 99, "score": 4.0}]
    stair = max(drawn(incumbent_plot(history, 999, "score"), "incumbents-line2d"), key=len)
    across, down = zip(*stair, strict=True)
    # candidate + 1 on a logarithmic axis: 1, 10, 100, 1000 are evenly spaced
    steps = sorted(set(across))
    assert [b - a for a, b in zip(steps, steps[1:], strict=False)] == pytest.approx([steps[1] - steps[0]] * 3, rel=1e-4)
    heights = sorted(set(down), reverse=True)
    assert (heights[1] - heights[2]) == pytest.approx(2 * (heights[0] - heights[1]), rel=1e-4)


def test_plots_of_nothing_and_of_one():
    assert whisker_plot([], "score") == ""
    assert incumbent_plot([], 10, "score") == ""
    ElementTree.fromstring(incumbent_plot([{"candidate": 0, "score": 1.0}], 0, "score", ("a & <b>", 1.0)))
