"""A report as files: one HTML page with everything in it, Markdown, figures, CSV.

Jinja2 is imported when it is used: it is of the extra [report].
"""

import base64
import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from lowlight_jax.evaluation import report, scoring
from lowlight_jax.evaluation.scoring import Scores
from lowlight_jax.reproduce import figures
from lowlight_jax.reproduce.figures import label
from lowlight_jax.reproduce.study import Study
from lowlight_jax.runtime.whole_file import write_whole

_TEMPLATES = Path(__file__).parent
_PICTURES, _PICTURE_PX = 4, 260  # scenes, and the width of each picture


@dataclasses.dataclass(frozen=True)
class Section:
    """A figure, a table, or both.

    Attributes:
      name: of its files, like "figure-4".
      title: one line.
      caption: what is shown, and by which protocol.
      figure: a PNG or JPEG file; b"": none.
      columns, rows: of the table, as it is read.
      data: the same, and more, as numbers: the rows of the CSV.
    """

    name: str
    title: str
    caption: str
    figure: bytes = b""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    data: Sequence[Mapping[str, object]] = ()

    @property
    def figure_file(self) -> str:
        suffix = "png" if self.figure.startswith(b"\x89PNG") else "jpg"
        return f"figures/{self.name}.{suffix}"

    @property
    def figure_url(self) -> str:
        kind = "png" if self.figure_file.endswith("png") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.figure).decode()}"

    @property
    def csv_file(self) -> str:
        return f"tables/{self.name}.csv"


def scores_section(
    name: str,
    title: str,
    about: str,
    table: Mapping[str, Scores],
    *,
    figure: bytes = b"",
) -> Section:
    """A row for each method, mean ± standard deviation over images.

    Args:
      name, title: of the section.
      about: which images and seeds, see `Study.about`.
      table: scores by method.
      figure: that shows the same.
    """
    caption = (
        f"Mean ± standard deviation over images, of each image the mean over seeds. "
        f"{about}"
    )
    metrics = list(next(iter(table.values())).columns)
    rows = [
        [method, *(report.summary(scores, metric) for metric in metrics)]
        for method, scores in table.items()
    ]
    data = [
        {
            "method": method,
            "metric": metric,
            "mean": scores.mean(metric),
            "std": scores.std(metric),
            "images": int(scores.values(metric).size),
        }
        for method, scores in table.items()
        for metric in metrics
    ]
    columns = ["method", *map(label, metrics)]
    return Section(name, title, caption, figure, columns, rows, data)


def pictures_section(
    name: str, title: str, study: Study, methods: Sequence[str], note: str = ""
) -> Section:
    """Results side by side, of images that are chosen by their place alone."""
    count = min(_PICTURES, len(study.pairs))
    indices = [(2 * i + 1) * len(study.pairs) // (2 * count) for i in range(count)]
    rows = [{m: study.picture(m, i) for m in methods} for i in indices]
    names = ", ".join(study.pairs[i].name for i in indices)
    return Section(
        name,
        title,
        f"Results as saved in 8 bits, nothing rescaled by the truth. Images {names} of "
        "those that no network was trained on, evenly spaced, not chosen by result; "
        "below each the framed part, where the truth has most contrast. Of networks "
        f"with several seeds the first. {note}".strip(),
        figure=figures.pictures(rows, width_px=_PICTURE_PX),
    )


def write_report(
    output: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    protocol: str = scoring.PROTOCOL,
) -> None:
    """Writes `report.html`, `report.md`, `figures/` and `tables/`; the page last.

    Args:
      output: folder.
      title: of the page.
      facts: what the figures were made with: data, seeds, hours, machine, commit.
      sections: in order.
      protocol: of all scores.
    """
    from jinja2 import Environment, FileSystemLoader

    for folder in ("figures", "tables"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for section in sections:
        if section.figure:
            write_whole(output / section.figure_file, section.figure)
        if section.data:
            text = _csv(section.data, protocol)
            write_whole(output / section.csv_file, text.encode())
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: name.startswith("report.html"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in ("report.md", "report.html"):
        template = environment.get_template(f"{name}.jinja")
        page = template.render(
            title=title, facts=facts, sections=sections, protocol=protocol
        )
        write_whole(output / name, page.encode())


def _csv(rows: Sequence[Mapping[str, object]], protocol: str) -> str:
    file = io.StringIO(newline="")
    file.write(f"# {protocol}\n")
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
