"""Models in the cache, as lines for a person and as objects for a program."""

from __future__ import annotations

from voiceauthd.embed.cache import CachedModel
from voiceauthd.terminal.output import Output, plain


def model_object(model: CachedModel) -> dict[str, object]:
    """Return everything about one model."""
    return {
        "name": model.name,
        "revision": model.revision,
        "size": model.size,
        "digest": model.digest,
        "path": str(model.path),
        "verified": model.verified,
        "problem": model.problem,
        "source": model.source,
        "licence": model.licence,
        "fetched": model.fetched,
    }


def model_lines(model: CachedModel, output: Output) -> list[str]:
    """Return name, size and state, then the hash and the folder of one model."""
    name, revision = output.style(plain(model.name), "bold"), plain(model.revision)[:12]
    state = output.style("verified", "green") if model.verified else output.style(plain(model.problem), "red")
    return [
        f"{name} {revision}  {model.size / 1e6:.1f} MB  {state}",
        f"  sha256 {plain(model.digest) or 'unknown'}",
        f"  {plain(model.path)}",
    ]
