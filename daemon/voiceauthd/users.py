"""Users of this machine, by the names that people know them by."""

from __future__ import annotations

import pwd


def user_name(uid: int) -> str:
    """The name of a user, or "uid N" for one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
