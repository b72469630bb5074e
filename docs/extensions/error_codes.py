"""The directive `error-codes`: the gateway's codes of some scopes, as a table."""

from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from esms_async._model.codes import CODES, Code, RouteKind, Scope

_HEAD = """\
| code | routes | meaning | ý nghĩa | what to do | cần làm gì |
|---|---|---|---|---|---|
"""


class ErrorCodes(SphinxDirective):
    """Lists the codes whose scope is among the arguments."""

    required_arguments: ClassVar[int] = 1
    optional_arguments: ClassVar[int] = len(Scope)

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        scopes = {Scope(name) for name in self.arguments}
        rows = [_row(code) for code in CODES.values() if code.scope in scopes]
        return self.parse_text_to_nodes(_HEAD + "\n".join(rows))


def _row(code: Code) -> str:
    words = (code.meaning, code.meaning_vi, code.advice, code.advice_vi)
    routes = "all" if code.routes == set(RouteKind) else ", ".join(sorted(code.routes))
    return f"| {code.code} | {routes} | {' | '.join(words)} |"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("error-codes", ErrorCodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
