"""Pages that the door itself shows when what is behind it does not answer.

nginx takes a text of 4,096 bytes at most between quotes, so a page is short. It needs nothing from
anywhere else, comes back by itself without a script, and is dark where the browser is.
"""

from __future__ import annotations

__all__ = ["LONGEST", "scheduler_down", "worker_away"]

LONGEST = 4095
"""Bytes that nginx takes for one text (``NGX_CONF_BUFFER``, less the zero at its end)."""

_SECONDS = 5
"""After this a page loads itself again."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="{seconds}">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 0; display: grid; place-items: center;
  min-height: 100vh; background: Canvas; color: CanvasText }}
main {{ max-width: 34rem; padding: 2rem; border-left: .3rem solid #c2410c }}
h1 {{ font-size: 1.4rem; margin: 0 0 .5rem; overflow-wrap: anywhere }}
p {{ margin: .5rem 0 }}
small {{ opacity: .8 }}
</style>
</head>
<body>
<main role="status">
<h1>{title}</h1>
{text}
<p><small>Fleet {fleet}. This page loads itself again every {seconds} seconds, until it is back.
</small></p>
</main>
{script}</body>
</html>
"""

_SINCE = """\
<script>
var since = document.getElementById("since"), key = "down {fleet}", now = Date.now();
var seen = JSON.parse(sessionStorage.getItem(key) || "null");
if (!seen || now - seen.last > 60000) seen = {{ first: now }};
seen.last = now;
sessionStorage.setItem(key, JSON.stringify(seen));
if (!since.textContent.trim())
  since.textContent = "Seen here since " + new Date(seen.first).toLocaleTimeString() + ".";
</script>
"""


def worker_away(fleet: str, worker: str) -> str:
    """Return the page for a worker that does not answer.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    worker : str
        Its name, or the variable of nginx that holds it.
    """
    return _PAGE.format(
        fleet=fleet,
        seconds=_SECONDS,
        title=f"{worker} is away",
        text="<p>This worker does not answer. It may be restarting, or its host may be down.</p>\n"
        '<p>The others are on <a href="/workers">the page of the scheduler</a>.</p>',
        script="",
    )


def scheduler_down(fleet: str, last_seen: str) -> str:
    """Return the page for a scheduler that does not answer.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    last_seen : str
        Markup that nginx replaces by when the scheduler was alive last; where it leaves nothing,
        the browser counts from when it has seen the page first.
    """
    return _PAGE.format(
        fleet=fleet,
        seconds=_SECONDS,
        title="The scheduler is down",
        text="<p>The scheduler does not answer. It may be restarting; workers register again by\n"
        "themselves, and programs have to connect again.</p>\n"
        f'<p id="since">{last_seen}</p>',
        script=_SINCE.format(fleet=fleet),
    )
