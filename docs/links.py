"""A hook of mkdocs: what stands in the repository beside docs/ is named on the site, which does not hold it."""

import re
from typing import Any

_OUTSIDE = re.compile(r"(!?)\[([^\]]*)\]\(\.\./([^)]*)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links that leave docs/ into text with the path; pictures into their names."""
    return _OUTSIDE.sub(lambda found: f"{found[2]} (`{found[3]}` in the repository)", markdown)
