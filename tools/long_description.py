"""Gives the package index a README whose links are absolute; hatchling calls it at each build.

`[project.urls]` in pyproject.toml is the one place that says where the repository is. While it has
no `Repository`, links stay as they are.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s]+)")
_PICTURE = re.compile(r"((?:src|srcset)=\")(?![a-z]+:)([^\"\s]+)")


def absolute(text: str, repository: str | None) -> str:
    """Return Markdown whose links and pictures lead into a repository on GitHub.

    Args:
        text: The Markdown.
        repository: The address of the repository; None leaves the text as it is.

    Returns:
        The Markdown.
    """
    if repository is None:
        return text
    text = _LINK.sub(rf"\1{repository}/blob/main/\2", text)
    return _PICTURE.sub(rf"\1{repository}/raw/main/\2", text)


class LongDescription(MetadataHookInterface):
    """Sets the field `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set it from README.md beside pyproject.toml."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute(text, repository),
        }
