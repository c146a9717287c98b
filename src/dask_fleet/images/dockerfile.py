"""The Dockerfile of a locked environment that is put into an image; purely."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BUNDLE", "INSTRUCTIONS", "PLACE", "TEMPLATE", "Baked", "dockerfile"]

BUNDLE = "environment.tar"
"""What stands beside the Dockerfile: the wheels of the environment, their lock, and uv."""

PLACE = "/opt/environment"
"""Where the environment is in the image."""

# An engine reaches no index, and needs none: everything is in the bundle, which ADD unpacks. The
# second stage has neither wheels nor uv. Bytecode is what makes imports fast, and whoever runs in
# the container cannot write it; checked against nothing but its own hash, it is right whatever
# times files bear. A seed that is fixed makes it the same each time. uv notes when the file of each
# wheel was written; nothing needs that here.
TEMPLATE = """\
# Written by dask-fleet: {shown}, on {base}.
FROM {base} AS made
LABEL {stage}
USER 0
ADD {bundle} /opt/wheels/
RUN cd /opt/wheels \\
 && export UV_CACHE_DIR=/opt/wheels/cache UV_OFFLINE=1 UV_NO_CONFIG=1 UV_NO_PROGRESS=1 \\
 && export PYC_INVALIDATION_MODE=UNCHECKED_HASH PYTHONHASHSEED=0 \\
 && ./uv venv --quiet --no-project --no-python-downloads --python {python} {place} \\
 && ./uv pip install --quiet --python {place}/bin/python --no-index --no-deps --require-hashes \\
    --compile-bytecode --link-mode hardlink --find-links wheels --requirement wheels.lock \\
 && find {place} -path '*.dist-info/uv_cache.json' -exec rm -f {{}} + \\
 && find {place} -path '*.dist-info/RECORD' -exec sed -i '/uv_cache.json,/d' {{}} + \\
 && {place}/bin/python -B -c 'import distributed' \\
 && rm -f {place}/.lock \\
 && mv requirements.lock wheels.lock {place}

FROM {base}
COPY --from=made {place} {place}
LABEL {labels}
ENV PATH="{place}/bin:$PATH"
USER {user}
CMD ["python"]
"""


INSTRUCTIONS = 5
"""How many instructions the second stage has."""


@dataclass(frozen=True, slots=True)
class Baked:
    """What a Dockerfile is made of.

    Attributes
    ----------
    shown : str
        The environment, in words.
    base : str
        Image that it is put on.
    python : str
        Path of an interpreter in it.
    user : str
        Numeric user and group that processes run as, ``UID:GID``.
    stage : tuple of (str, str)
        Label of the first stage, by which what is left of it is found and removed.
    labels : Mapping
        Labels of the image.
    """

    shown: str
    base: str
    python: str
    user: str
    stage: tuple[str, str]
    labels: Mapping[str, str]


def dockerfile(baked: Baked) -> str:
    """Return the text of a Dockerfile."""
    return TEMPLATE.format(
        shown=baked.shown,
        base=baked.base,
        bundle=BUNDLE,
        place=PLACE,
        python=baked.python,
        user=baked.user,
        stage=_label(*baked.stage),
        labels=" \\\n      ".join(_label(*one) for one in sorted(baked.labels.items())),
    )


def _label(name: str, value: str) -> str:
    return f"{name}={json.dumps(value)}"
