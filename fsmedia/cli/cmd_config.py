"""`fsmedia config`: show the settings of a store, and change those that may change."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from fsmedia.cli import app, output
from fsmedia.format.settings import FIXED
from fsmedia.models import RetentionPolicy

HELP = """`fsmedia init` and the first write make the settings, the same for everybody. The default policy, policies,
views and the orphan grace can be changed afterwards; others are fixed.

Examples:
  fsmedia config show --store ./media
  fsmedia config set default_policy=retain-30days --store ./media --dry-run
"""
SHOW_HELP = """Show the settings of a store, each as `config set` takes it.

Examples:
  fsmedia config show --store ./media
  fsmedia config show --json | jq .default_policy
"""
SET_HELP = """Change settings for everybody; prints what they were and what they are now.

default_policy=NAME is the policy of media that name none; policies.NAME=DURATION gives the store a policy
(365d, forever), views.NAME=TEMPLATE a view of media://. An empty value removes it. orphan_grace=DURATION can only be
raised. Programs that have the store open take it over within a minute.

Redefining a policy leaves the media that are under it as they are: fsmedia policy apply audit --policy audit counts
anew. Layouts and organization are fixed: fsmedia sync --organization brings the media to a new store.

Examples:
  fsmedia config set default_policy=retain-30days --store ./media
  fsmedia config set default_policy= policies.audit=365d policies.legal=forever policies.scratch=
  fsmedia config set 'views.by-day={timestamp:%Y-%m-%d}/{name}{ext}' --dry-run
  fsmedia config set orphan_grace=48h
"""
_KNOWN = "default_policy, orphan_grace, policies.NAME, views.NAME"


def show(*, as_json: app.AsJson = False, location: app.Store) -> None:
    """Show the settings."""
    with location.open_existing(read_only=True) as opened:
        url, made = opened.url, opened._settings_file.is_settled
        document = app.settings_document(opened.settings)
    if as_json:
        output.json_line({"url": url, "made": made, **document})
        return
    if not made:
        output.note(f"the store at {url} has no settings: another program wrote it; the first write would make these")
    output.Screen().print(Text(f"settings of {output.visible(url)}"), soft_wrap=True)
    output.print_facts((f"  {output.visible(key)}", output.visible(text)) for key, text in _texts(document).items())


def change(
    *,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help=f"Keys: {_KNOWN}; repeatable.")],
    dry_run: app.DryRun = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Change settings."""
    words = _words(app.parse_pairs(settings, "KEY=VALUE", f"KEY=VALUE; keys are {_KNOWN}"))
    with location.open_existing(read_only=dry_run) as opened:
        url, before = opened.url, opened.settings
        planned = opened._settings_file.change(words, dry_run=True).record() if dry_run else None
        after = planned or opened.change_settings(**words)
    documents = {"before": app.settings_document(before), "after": app.settings_document(after)}
    if as_json:
        output.json_line({"url": url, "dry_run": dry_run, **documents})
        return
    was, now = map(_texts, documents.values())
    changed = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    for key in changed:
        texts = [output.visible(each) for each in (key, was.get(key, "none"), now.get(key, "none"))]
        output.line("{}: {} -> {}".format(*texts))
    if not changed:
        output.note("nothing to change: the settings are so already")
    for name in sorted(before.policies.keys() & after.policies):
        if f"policies.{name}" in changed:
            step = f"to count anew: fsmedia policy apply {name} --policy {name}"
            output.note(f"media under {name} keep the times at which they expire; {step}")


def _words(pairs: dict[str, str]) -> dict[str, Any]:
    """Return what `change_settings` takes; or name the keys there are, or the way to what is fixed."""
    words: dict[str, Any] = {}
    for key, text in pairs.items():
        kind, _, name = key.partition(".")
        if key == "default_policy":
            words[key] = text.strip() or None
        elif key == "orphan_grace":
            words[key] = app.parse_duration(text, key)
        elif kind == "policies" and name:
            words.setdefault(kind, {})[name] = _policy(name, text, key) if text.strip() else None
        elif kind == "views" and name:
            words.setdefault(kind, {})[name] = text.strip() or None
        elif kind in FIXED:
            raise app.CommandError(f"the first write has fixed {kind}; to have another, {FIXED[kind]}", code=app.USAGE)
        else:
            raise typer.BadParameter(f"no setting {key!r} can be changed; keys are {_KNOWN}", param_hint="KEY=VALUE")
    return words


def _policy(name: str, text: str, option: str) -> RetentionPolicy | timedelta:
    keep_for = app.parse_keep_for(text, option)
    return RetentionPolicy(name=name) if keep_for is None else keep_for


def _text(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _texts(document: dict[str, Any]) -> dict[str, str]:
    """Return settings by their keys, as `config set` takes them."""
    found: dict[str, str] = {}
    for name, value in document.items():
        if name == "policies":
            found |= {f"{name}.{each}": app.spell_duration(seconds) for each, seconds in value.items()}
        elif isinstance(value, dict):
            found |= {f"{name}.{each}": template for each, template in value.items()}
        else:
            found[name] = app.spell_duration(value) if name == "orphan_grace" else _text(value)
    return found


group = app.command_group((("show", show, SHOW_HELP), ("set", change, SET_HELP)))
