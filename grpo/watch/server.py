"""Answer the page: itself, its parts, completions by query, and a stream that says when something is new."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from grpo.report import assets
from grpo.report.rollouts import WHOLE, shown
from grpo.report.table import PAGE, Query, QueryError
from grpo.watch.state import Watched

HEARTBEAT = 15.0  # seconds after which a silent stream says that it is still there
LOOK = 0.5  # seconds between two looks at the version
GUARDS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


def application(watched: Watched) -> Starlette:
    """Return the server's application. Only a browser on this machine, by its own name, is answered."""
    policy = assets.policy(live=True, formulas=True) + "; frame-ancestors 'none'"

    async def page(_: Request) -> Response:
        text = await run_in_threadpool(watched.page)
        return HTMLResponse(_sendable(text), headers={**GUARDS, "Content-Security-Policy": policy})

    async def parts(_: Request) -> Response:
        text = await run_in_threadpool(watched.parts)
        return HTMLResponse(_sendable(text), headers={**GUARDS, "Content-Security-Policy": policy})

    async def rollouts(request: Request) -> Response:
        try:
            query = Query.parse(request.query_params)
            return _json(await run_in_threadpool(_answer, watched, query))
        except QueryError as error:
            return _json({"error": str(error)}, 400)

    async def rollout(request: Request) -> Response:
        table = watched.index.table
        row = table.find(request.query_params.get("name", ""))
        found = None if row is None else await run_in_threadpool(shown, table, row, most=WHOLE, tokens=True)
        return (
            _json({"error": "this completion is gone: its file was replaced"}, 404) if found is None else _json(found)
        )

    async def events(request: Request) -> Response:
        return StreamingResponse(_news(watched, request), media_type="text/event-stream", headers=GUARDS)

    routes = [
        Route("/", page),
        Route("/parts", parts),
        Route("/rollouts", rollouts),
        Route("/rollout", rollout),
        Route("/events", events),
    ]
    own_names = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=routes, middleware=[own_names])


def _answer(watched: Watched, query: Query) -> dict[str, Any]:
    """One page of the completions that a query asks for."""
    table = watched.index.table
    rows = table.select(query)
    first = query.page * PAGE
    found = [shown(table, int(row)) for row in rows[first : first + PAGE]]
    return {
        "total": len(rows),
        "first": first,
        "rows": [row for row in found if row is not None],
        "indexing": watched.news()["indexing"],
    }


async def _news(watched: Watched, request: Request) -> AsyncIterator[str]:
    """Say what is new, as server-sent events, until the browser leaves or the server ends."""
    last: tuple[object, ...] = ()
    silent = 0.0
    while not (watched.stopped or await request.is_disconnected()):
        now = (watched.version, watched.index.read)
        if now != last:
            last, silent = now, 0.0
            yield f"data: {json.dumps(watched.news())}\n\n"
        elif silent >= HEARTBEAT:
            silent = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(LOOK)
        silent += LOOK


def _json(value: Any, status: int = 200) -> Response:
    text = json.dumps(value, separators=(",", ":"))  # in ASCII: model text may hold half a surrogate pair
    return Response(text, status_code=status, headers=GUARDS, media_type="application/json")


def _sendable(text: str) -> str:
    """The text without halves of surrogate pairs, which model text may hold and UTF-8 can't write."""
    return text.encode("utf-8", "replace").decode("utf-8")
