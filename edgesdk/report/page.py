"""Render the report as one self-contained HTML page that loads nothing from the network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgesdk.bundle.manifest import Manifest, artefact_names
from edgesdk.report import quantities
from edgesdk.report.commands import reproduction_commands
from edgesdk.report.conditions import main_condition
from edgesdk.report.costs import cost_view
from edgesdk.report.findings import classified_samples, coverage_views, protocols
from edgesdk.report.io_table import image_text, io_tables, shape_text
from edgesdk.report.labels import (
    evaluated_label,
    family,
    notes_by_artefacts,
    rewrites_by_artefacts,
    target_label,
)
from edgesdk.report.links import LinkedFile
from edgesdk.report.measurements import (
    latency_plots,
    operator_plots,
    parity_plots,
    size_plot,
    trade_off_plot,
)
from edgesdk.report.painted_rows import change_text, psnr_text
from edgesdk.report.photographs import Photograph, thumbnail
from edgesdk.report.plots import meter
from edgesdk.report.quantization import quantization_view
from edgesdk.report.styles import styles_view
from edgesdk.report.summary import missed_bounds, summary_rows, warnings_of
from edgesdk.report.verdict import verdict

__all__ = ["render"]

# Colours and cursor movements in the output of converters. Applied to the escaped page, so it must
# not match markup.
_TERMINAL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# Control characters and marks of writing direction, which could disguise one name as another.
_INVISIBLE = dict.fromkeys(
    (
        *(code for code in range(0x20) if code not in (0x09, 0x0A)),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200E, 0x200F),
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
        0xFEFF,
        # Surrogates, which UTF-8 cannot encode.
        *range(0xD800, 0xE000),
    ),
    "\N{REPLACEMENT CHARACTER}",
)


def _visible(text: str) -> str:
    """Remove terminal sequences and replace invisible characters by a sign."""
    plain = _TERMINAL_SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return plain.translate(_INVISIBLE)


def _clip(text: str, length: int = 160) -> str:
    """Return the first line of ``text``, shortened to ``length`` characters."""
    first = text.strip().partition("\n")[0]
    return first if len(first) <= length else f"{first[: length - 1].rstrip()}…"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("edgesdk.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Every function NAME_text of the quantities is the filter NAME.
    for name in quantities.__all__:
        if name.endswith("_text"):
            environment.filters[name.removesuffix("_text")] = getattr(quantities, name)
    environment.filters.update(
        change=change_text,
        clip=_clip,
        evaluated=evaluated_label,
        family=family,
        image=image_text,
        psnr=psnr_text,
        shape=shape_text,
        target=target_label,
    )
    environment.globals.update(
        coverage_views=coverage_views, meter=meter, missed_bounds=missed_bounds
    )
    return environment


def render(
    manifest: Manifest,
    photographs: Sequence[Photograph] = (),
    thumbnails: Mapping[str, bytes] = MappingProxyType({}),
    links: Sequence[LinkedFile] = (),
) -> str:
    """Render the report of a manifest as HTML; the same arguments give the same page.

    Example:
        >>> page = render(edgesdk.Bundle.open("net.edge").manifest)
        >>> Path("report.html").write_text(page)

    Args:
        manifest: Manifest to report. Its texts are untrusted and are all escaped.
        photographs: Pictures to show beside the classes of the samples with the same names.
        thumbnails: Contents of the manifest's style thumbnails by path. They are untrusted; a file
            other than a small picture is replaced by a note.
        links: Files that the page links to.

    Raises:
        InputSpecError: A photograph cannot be read.
    """
    rows = summary_rows(manifest)
    labels = artefact_names(manifest.artefacts)
    outcome = verdict(manifest)
    leads: dict[str, list[str]] = {}
    for fact in (fact for fact in outcome.facts if fact.leads):
        leads.setdefault(fact.label, []).append(fact.title)
    pictures = {photograph.name: thumbnail(photograph) for photograph in photographs}
    template = _environment().get_template("report.html")
    page = template.render(
        manifest=manifest,
        rows=rows,
        artefacts=list(zip(manifest.artefacts, labels, rows, strict=False)),
        verdict=outcome,
        warnings=warnings_of(manifest),
        leads=leads,
        condition=main_condition(manifest),
        size_plot=size_plot(rows),
        latency_plots=latency_plots(manifest, rows),
        trade_off_plot=trade_off_plot(rows),
        parity_plots=parity_plots(manifest, rows),
        operator_plots=operator_plots(manifest),
        samples=classified_samples(manifest, pictures),
        cost=cost_view(manifest),
        styles=styles_view(manifest, thumbnails),
        links=links,
        quantization=quantization_view(manifest),
        io_tables=io_tables(manifest),
        protocols=protocols(manifest),
        shared_notes=notes_by_artefacts(manifest, labels),
        shared_rewrites=rewrites_by_artefacts(manifest, labels),
        commands=reproduction_commands(manifest),
    )
    return _visible(page)
