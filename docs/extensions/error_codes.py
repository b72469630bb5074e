"""The directive `error-codes`: the gateway's codes of some scopes, as a table."""

from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from esms_async._model.codes import CODES, Code, RouteKind, Scope

_HEADS = (
    "| code | routes | meaning | what to do |",
    "| mã | kênh | ý nghĩa | cần làm gì |",
)


class ErrorCodes(SphinxDirective):
    """Lists the codes whose scope is among the arguments, in the language of the page."""

    required_arguments: ClassVar[int] = 1
    optional_arguments: ClassVar[int] = len(Scope)

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        scopes = {Scope(name) for name in self.arguments}
        is_vietnamese = self.env.docname.endswith(".vi")
        row = _vietnamese_row if is_vietnamese else _row
        rows = [row(code) for code in CODES.values() if code.scope in scopes]
        head = [_HEADS[is_vietnamese], "|---|---|---|---|"]
        return self.parse_text_to_nodes("\n".join([*head, *rows]))


def _row(code: Code) -> str:
    return f"| {code.code} | {_routes(code, 'all')} | {code.meaning} | {code.advice} |"


def _vietnamese_row(code: Code) -> str:
    routes = _routes(code, "mọi kênh")
    return f"| {code.code} | {routes} | {code.meaning_vi} | {code.advice_vi} |"


def _routes(code: Code, every: str) -> str:
    return every if code.routes == set(RouteKind) else ", ".join(sorted(code.routes))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("error-codes", ErrorCodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
