"""Requests that the dashboard must refuse, and names of accounts that must do no harm there."""

from __future__ import annotations

import base64
import json
from typing import Any


def _cursor(content: Any) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return "cursor=" + base64.urlsafe_b64encode(text).decode().rstrip("=")


_LIMIT = "limit: must be a number"
_SCORE = "min_score: must be a number"
_SINCE = "since: must be ISO-8601"
_SEVERITY = "severity: must be of high, medium, low"
_ACCOUNT = "account: 1 to 64 bytes without control characters"
_CURSOR = "cursor: must be the next_cursor of an earlier answer"

QUERIES = [
    ("limit=many", _LIMIT),
    ("limit=nan", _LIMIT),
    ("limit=%00", _LIMIT),
    ("limit=0x10", _LIMIT),
    ("limit=[]", _LIMIT),
    ("limit=1%0d%0aX: y", _LIMIT),
    ("limit=1; DROP TABLE fraud.fraud_alerts", _LIMIT),
    ("limit=x&limit=1", _LIMIT),
    ("min_score=high", _SCORE),
    ("min_score=nan", _SCORE),
    ("min_score=1,5", _SCORE),
    ("min_score=1' OR '1'='1", _SCORE),
    ("since=yesterday", _SINCE),
    ("since=now()", _SINCE),
    ("since=-1", _SINCE),
    ("since=99999-01-01", _SINCE),
    ("since=2026-02-30", _SINCE),
    ("since=2026-03-14T24:00:00Z", _SINCE),
    ("since=0001-01-01T00:00:00%2B14:00", _SINCE),
    ("since=9999-12-31T23:59:59-14:00", _SINCE),
    ("since=2026-03-14T15:09:26Z' ALLOW FILTERING", _SINCE),
    ("since=%F0%9F%92%B8", _SINCE),
    ("severity=fatal", _SEVERITY),
    ("severity=HIGH", _SEVERITY),
    ("severity=high,", _SEVERITY),
    ("severity=high,low,medium,fatal", _SEVERITY),
    ("severity=' OR ''='", _SEVERITY),
    ("severity=%00", _SEVERITY),
    ("account=%00", _ACCOUNT),
    ("account=%0d%0aSet-Cookie: a", _ACCOUNT),
    ("account=%C2%85", _ACCOUNT),
    ("account=" + "x" * 65, _ACCOUNT),
    ("account=" + "%C3%A9" * 33, _ACCOUNT),
    ("cursor=nonsense", _CURSOR),
    ("cursor=../../etc/passwd", _CURSOR),
    ("cursor=' OR 1=1", _CURSOR),
    ("cursor=%00", _CURSOR),
    ("cursor=W10=", _CURSOR),
    ("cursor=" + "W" * 5000, _CURSOR),
    (_cursor([]), _CURSOR),
    (_cursor({}), _CURSOR),
    (_cursor({"a": 1, "b": 2}), _CURSOR),
    (_cursor(1), _CURSOR),
    (_cursor("ab"), _CURSOR),
    (_cursor([None, None]), _CURSOR),
    (_cursor([-1, None]), _CURSOR),
    (_cursor([True, None]), _CURSOR),
    (_cursor([1.5, None]), _CURSOR),
    (_cursor(["1", None]), _CURSOR),
    (_cursor([1e30, None]), _CURSOR),
    (_cursor([10**20, None]), _CURSOR),
    (_cursor([9_999_999_999_999_999, None]), _CURSOR),
    (_cursor([1, None, 2]), _CURSOR),
    (_cursor([1, 2]), _CURSOR),
    (_cursor([1, ["a"]]), _CURSOR),
    (_cursor([1, ""]), _CURSOR),
    (_cursor([1, "\0"]), _CURSOR),
    (_cursor([1, "\ud800"]), _CURSOR),
    (_cursor([1, "x" * 65]), _CURSOR),
    (_cursor(b"[NaN,null]"), _CURSOR),
    (_cursor(b"[1,null"), _CURSOR),
    (_cursor(b"\xff\xfe"), _CURSOR),
    (_cursor(b"[" * 180), _CURSOR),
]
"""(query of /api/alerts, how the error begins): status 400"""

PATHS = [
    *(
        f"/alerts/{alert_id}"
        for alert_id in (
            "", "x", "1-", "-1-QQ", "1-Q", "1-QQ===", "1-QQ%0a", "1-AA", "1-_w", "1-7aCA",
            "9" * 15 + "-QQ", "9" * 16 + "-QQ", "1-" + "Q" * 500, "..%2f..%2fetc",
            "%2e%2e%2f%2e%2e", "1-QQ'%20OR%20'1'='1", "<script>alert(1)</script>",
        )
    ),
    "/accounts/", "/accounts/%00", "/accounts/%0d%0aSet-Cookie:x", "/accounts/" + "x" * 10_000,
    "/accounts/" + "%C3%A9" * 33, "/accounts/" + "/" * 65,
    "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/%5c..%5capp.py",
    "/static/....//app.py", "/static//etc/passwd", "/static/%00", "/static/",
    "/..", "/%2e%2e/", "/%", "/%zz", "/.git/config", "/.env", "/config.yml", "/console",
    "/" + "a" * 5000, "/<script>alert(1)</script>",
    "/api", "/api/", "/api/alerts/", "/api/ALERTS", "/api/../alerts", "/api/%00",
    "/api/system/../../etc/passwd", "/api/%F0%9F%92%B8", "/api/{{7*7}}",
]  # fmt: skip
"""Addresses of nothing: status 404"""

HOSTS = [
    "", "evil.example", "localhost.evil.example", "evil.example:5000", "local host", "localhost:",
    "localhost:x", "localhost:5000:5000", "localhost.", "localhost@evil.example", "localhost,evil",
    "localhost/evil", "http://localhost", "127.0.0.1.nip.io:5000", "127.0.0.1:5000.evil", "127.1",
    "2130706433", "0x7f000001", "0.0.0.0", "[::1", "[::1]x", "::1", "[::ffff:127.0.0.1]",
    "localhost\0",
]  # fmt: skip
"""Host headers of others than this machine: status 400"""


def _get(*headers: bytes, path: bytes = b"/livez") -> bytes:
    return b"\r\n".join((b"GET " + path + b" HTTP/1.1", b"Host: localhost", *headers, b"", b""))


RAW = [
    ("no HTTP", b"\x00\xff\xfe\r\n\r\n", 400),
    ("HTTP/0.9", b"GET /livez\r\n\r\n", 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("HTTP/9.9", b"GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
    ("no host", b"GET /livez HTTP/1.1\r\n\r\n", 400),
    ("two hosts", _get(b"Host: evil.example"), 400),
    ("host by another name", b"GET /livez HTTP/1.1\r\nHTTP_HOST: localhost\r\n\r\n", 400),
    ("method in small letters", b"get /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("method with a tab", b"GE\tT /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("unknown method", b"BREW /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ("proxy", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ("options of the server", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ("long address", _get(path=b"/" + b"a" * 9000), 414),
    ("address without slash", _get(path=b"livez"), 400),
    ("address of raw bytes", _get(path=b"/accounts/\xc3\xa9"), 400),
    ("address with a line break", _get(path=b"/livez\r\nX: y"), 400),
    ("address of another host", _get(path=b"//evil.example/"), 404),
    ("address out of static", _get(path=b"/static/../../../../etc/passwd"), 404),
    ("huge header", _get(b"X: " + b"x" * 100_000), 431),
    ("many headers", _get(*(b"X%d: y" % number for number in range(200))), 431),
    ("header without colon", _get(b"nonsense"), 400),
    ("header with a blank in its name", _get(b"X : y"), 400),
    ("header with NUL", _get(b"X: a\0b"), 400),
    ("header over two lines", _get(b"X: a", b" b"), 400),
    ("header with a carriage return", _get(b"X: a\rY: b"), 400),
    ("length and chunks", _get(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    ("two lengths", _get(b"Content-Length: 1", b"Content-Length: 2"), 400),
    ("negative length", _get(b"Content-Length: -1"), 400),
    ("length in words", _get(b"Content-Length: many"), 400),
    ("huge length", _get(b"Content-Length: 99999999999999999999"), 413),
    ("unknown encoding", _get(b"Transfer-Encoding: xchunked"), 501),
    ("unknown expectation", _get(b"Expect: everything"), 417),
    ("WebSocket", _get(b"Upgrade: websocket", b"Connection: Upgrade"), 400),
]
"""(name, bytes on the wire, status)"""

HOSTILE_NAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "&lt;script&gt;&#39;",
    "javascript:alert(1)",
    "\u202eeslaf",
    "a/b//c",
    "../../alerts",
    "?a=b&c#d",
    "💸",
    "%2e%2e",
    "{{ 7 * 7 }}",
    "{% raw %}${7*7}",
    "x'; DROP TABLE fraud.fraud_alerts; --",
    "\\",
    " ",
    "\ufeff\u2028\ufffd",
]
"""Accounts that the rules admit"""
