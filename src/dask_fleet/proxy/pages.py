"""Pages that the door itself shows when what is behind it does not answer.

nginx takes a text of 4,096 bytes at most between quotes, so a page is short. It needs nothing from
anywhere else, comes back by itself with a script or without, and is dark where the browser is.
"""

from __future__ import annotations

__all__ = ["LONGEST", "scheduler_down", "worker_away"]

LONGEST = 4095
"""Bytes that nginx takes for one text (``NGX_CONF_BUFFER``, less the zero at its end)."""

_SECONDS = 5
"""After this a page looks again whether what is away is back."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>
<title>{title}</title>
<style>
:root {{ --ground: #f3f5f8; --card: #fff; --line: #dde3ea; --ink: #131a22; --quiet: #55616e;
  --link: #0a58c2; --bad: #df3f46 }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ground: #0c1117; --card: #141b23; --line: #28323d; --ink: #e7edf3; --quiet: #9ba8b5;
    --link: #79b5ff; --bad: #d8453f }}
}}
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 0; padding: 1rem; box-sizing: border-box;
  min-height: 100vh; display: grid; place-items: center; background: var(--ground);
  color: var(--ink) }}
main {{ max-width: 34rem; padding: 1.4rem 1.8rem; background: var(--card); border-radius: 12px;
  border: 1px solid var(--line); border-left: .35rem solid var(--bad) }}
h1 {{ font-size: 1.35rem; line-height: 1.25; margin: 0 0 .6rem; overflow-wrap: anywhere }}
p {{ margin: .5rem 0 }}
a {{ color: var(--link) }}
small {{ color: var(--quiet) }}
</style>
</head>
<body>
<main>
<div role="status">
<h1>{title}</h1>
{text}
</div>
<p><small>Fleet {fleet}. This page looks every {seconds} seconds whether it is back.</small></p>
</main>
<script>
(function look() {{
  setTimeout(function () {{
    fetch(location.href, {{ method: "HEAD", cache: "no-store", redirect: "manual" }}).then(
      function (answer) {{ if (answer.status === 503) look(); else location.reload(); }}, look);
  }}, {seconds}000);
}})();
{script}</script>
</body>
</html>
"""

_SINCE = """\
var since = document.getElementById("since"), key = "down {fleet}", now = Date.now();
var seen = JSON.parse(sessionStorage.getItem(key) || "null");
if (!seen || now - seen.last > 60000) seen = {{ first: now }};
(function keep() {{
  seen.last = Date.now();
  sessionStorage.setItem(key, JSON.stringify(seen));
  setTimeout(keep, 5000);
}})();
if (!since.textContent.trim())
  since.textContent = "Seen here since " + new Date(seen.first).toLocaleTimeString() + ".";
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
        '<p>The <a href="/fleet/">console</a> shows the others.</p>',
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
