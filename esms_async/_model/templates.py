"""Matches texts with the templates of a brandname, and names the part that does not fit."""

import re
from collections.abc import Iterable, Iterator

import attrs

from esms_async._model.checks import check_type
from esms_async._model.errors import ConfigurationError
from esms_async._model.phone import OPERATORS
from esms_async._model.routes import Brandname
from esms_async._model.text import normalize_text

# assumed: `{P1,20}` is a variable of 1 to 20 characters. The page shows it and does not say.
_VARIABLE = re.compile(r"\{P[0-9]{1,9},([0-9]{1,9})\}")
_LONGEST_SHOWN = 60


@attrs.frozen
class BrandnameTemplate:
    """A text that is registered for a brandname with one operator.

    Attributes:
        text: The text; `{P1,20}` stands for 1 to 20 characters.
        network: The operator's number, as `telcoid` in a delivery report, or None.
        template_id: The operator's number of the template, or None.
    """

    text: str
    network: int | None = None
    template_id: str | None = None

    @property
    def network_name(self) -> str:
        """The name of the operator, or its number if no page lists it."""
        return _network_name(self.network)


@attrs.frozen
class TemplateMatch:
    """The result of a match; true if the text fits.

    Attributes:
        fits: True if the text fits at least one template.
        networks: The names of the operators that have such a template.
        missing: The names of the brandname's other operators, which may refuse the text.
        part: The part of the nearest template that the text does not fit: a variable such as
            `{P1,20}`, or a piece of its text. None if the text fits, or nothing is registered.
        problem: What does not fit, in one sentence without the text; None if it fits.
    """

    fits: bool
    networks: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    part: str | None = None
    problem: str | None = None

    def __bool__(self) -> bool:
        return self.fits


@attrs.frozen(init=False)
class Templates:
    """The templates of a brandname. Iterate over it to get them.

    Args:
        brandname: The brandname, as it is registered.
        templates: Its templates, as Templates or as texts.

    Raises:
        ConfigurationError: A value can't work.
    """

    brandname: str
    templates: tuple[BrandnameTemplate, ...]

    def __init__(self, brandname: str, templates: Iterable[BrandnameTemplate | str]) -> None:
        _ = Brandname(brandname)
        if isinstance(templates, str):
            raise ConfigurationError("templates must be a list of templates, not one str")
        read = tuple(BrandnameTemplate(one) if isinstance(one, str) else one for one in templates)
        for one in read:
            check_type("templates", one, BrandnameTemplate)
        object.__setattr__(self, "brandname", brandname)
        object.__setattr__(self, "templates", read)

    def __iter__(self) -> Iterator[BrandnameTemplate]:
        return iter(self.templates)

    def __len__(self) -> int:
        return len(self.templates)

    def match(self, text: str) -> TemplateMatch:
        """Return whether a text fits at least one template, and which part does not."""
        if not self.templates:
            return TemplateMatch(
                fits=False, problem=f"no template is registered for the brandname {self.brandname}"
            )
        text = normalize_text(text)
        misfits: dict[str, _Misfit | None] = {
            template: _misfit(template, text)
            for template in dict.fromkeys(one.text for one in self.templates)
        }
        fitting = {template for template, misfit in misfits.items() if misfit is None}
        names = {one.network_name for one in self.templates if one.text in fitting}
        others = {one.network_name for one in self.templates} - names
        if fitting:
            return TemplateMatch(
                fits=True, networks=tuple(sorted(names)), missing=tuple(sorted(others))
            )
        nearest = max((one for one in misfits.values() if one), key=lambda one: one.matched)
        return TemplateMatch(
            fits=False,
            missing=tuple(sorted(others)),
            part=nearest.part,
            problem=f"fits no template of the brandname {self.brandname}: {nearest.problem}",
        )


@attrs.frozen
class _Misfit:
    """Where a text leaves a template, and how many characters matched before."""

    matched: int
    part: str
    problem: str


def _misfit(template: str, text: str) -> _Misfit | None:
    """Return how a text does not fit a template, or None if it fits.

    It follows all possible positions in the text at once, so no template takes long.
    """
    places, matched, variable, least = {0}, 0, "", 0
    for part, longest in _parts(normalize_text(template)):
        if longest is None:
            following = {at + len(part) for at in places if text.startswith(part, at)}
            if not following:
                return _missing_literal(part, variable, least, text, matched)
            matched += len(part)
        else:
            following = {
                at + count for at in places for count in range(1, min(longest, len(text) - at) + 1)
            }
            if not following:
                return _Misfit(matched, part, f"the text ends before {part}, which takes 1 or more")
        least, variable, places = min(places), part if longest is not None else "", following
    if len(text) in places:
        return None
    over = len(text) - max(places)
    if variable:
        problem = f"the part for {variable} is too long by {over}"
        return _Misfit(matched, variable, problem)
    last = _shown(template)
    return _Misfit(matched, last, f"the text goes on after the end of {last!r}")


def _missing_literal(part: str, variable: str, start: int, text: str, matched: int) -> _Misfit:
    shown = _shown(part)
    found = text.find(part, start)
    if variable and found >= 0:
        length = found - start
        problem = f"the part for {variable} must not have {length} characters"
        return _Misfit(matched, variable, problem)
    return _Misfit(matched, shown, f"{shown!r} is missing, or is not where the template has it")


def _parts(template: str) -> Iterator[tuple[str, int | None]]:
    """Split a template into its texts, and its variables with the most characters they take."""
    end = 0
    for variable in _VARIABLE.finditer(template):
        if variable.start() > end:
            yield template[end : variable.start()], None
        yield variable[0], int(variable[1])
        end = variable.end()
    if end < len(template):
        yield template[end:], None


def _shown(part: str) -> str:
    return part if len(part) <= _LONGEST_SHOWN else f"{part[: _LONGEST_SHOWN - 1]}…"


def _network_name(network: int | None) -> str:
    if network is None:
        return "an unknown operator"
    return OPERATORS.get(network, f"operator {network}")
