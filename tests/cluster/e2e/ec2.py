"""AWS on loopback: moto's server, with what moto lacks: machines behind its instances, prices that differ, a record.

Always holds: every request but those for prices is answered by moto; `launches` has the parameters of each
RunInstances call as they came over the wire; an instance's machine runs exactly as long as moto says it does.

    with Aws() as aws:
        aws.machines = Machines(root, environment)
        boto3.client("ec2", endpoint_url=aws.endpoint).run_instances(...)     # and a machine boots
"""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import run_wsgi_app

from tests.cluster.e2e.machines import Machines
from tests.loopback import LoopbackServer

# So high that a run of a minute costs something: a cent a second for a worker, a tenth of it for the head.
SPOT_USD_PER_HOUR, ON_DEMAND_USD_PER_HOUR = {"g5.xlarge": "36.00"}, {"m6i.large": "3.60", "g5.xlarge": "108.00"}
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d", "us-east-1f")
_ANY = "{*}"  # moto and AWS name different versions of the same


class Aws(LoopbackServer):
    """Serves from the start to the end of a `with` block; `machines` may be set any time before the first launch."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.launches: list[dict[str, Any]] = []
        self.machines: Machines | None = None
        self._moto = DomainDispatcherApplication(create_backend_app)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked = _fields(environ)
        if answer := _price_answer(asked, environ):
            start_response("200 OK", [])
            return [answer]
        if asked.get("Action") == "RunInstances":
            self.launches.append(nested(asked))
            # AWS starts as many as it has, up to MaxCount; moto always starts MinCount.
            _put_back(environ, urlencode(asked | {"MinCount": asked["MaxCount"]}).encode())
        content, status, headers = run_wsgi_app(self._moto, environ, buffered=True)
        body = b"".join(content)
        if asked.get("Action") == "RunInstances" and status.startswith("200"):
            self._boot(body)
        elif asked.get("Action") == "TerminateInstances" and status.startswith("200"):
            for name in _texts(body, "instanceId"):
                if self.machines:
                    self.machines.power_off(name)
        start_response(status, list(headers.items()))
        return [body]

    def _boot(self, body: bytes) -> None:
        for instance in ElementTree.fromstring(body).iterfind(f".//{_ANY}item"):
            name = instance.findtext(f"{_ANY}instanceId")
            if name is None or self.machines is None:
                continue
            text = {field: instance.findtext(_ANY + field) for field in _FIELDS}
            self.machines.boot(
                name,
                text["instanceType"] or "",
                instance.findtext(f"{_ANY}placement/{_ANY}availabilityZone") or "",
                text["instanceLifecycle"] or "on-demand",
                [text[field] or "" for field in ("privateIpAddress", "ipAddress") if text[field]],
            )


_FIELDS = ("instanceType", "instanceLifecycle", "privateIpAddress", "ipAddress")


def _fields(environ: dict[str, Any]) -> dict[str, str]:
    """The fields of a form, as EC2 is asked; what was read is put back for moto."""
    if "x-www-form-urlencoded" not in environ.get("CONTENT_TYPE", ""):
        return {}
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    _put_back(environ, body)
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def _put_back(environ: dict[str, Any], body: bytes) -> None:
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))


def nested(fields: dict[str, str]) -> dict[str, Any]:
    """`{"Tag.1.Key": "a"}` as `{"Tag": {"1": {"Key": "a"}}}`, and numbered things as lists."""
    tree: dict[str, Any] = {}
    for path, value in fields.items():
        *parents, last = path.split(".")
        inner = tree
        for part in parents:
            inner = inner.setdefault(part, {})
        inner[last] = value
    listed: dict[str, Any] = _listed(tree)
    return listed


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(item) for key, item in value.items()}
    return list(inner.values()) if inner and all(key.isdigit() for key in inner) else inner


def _texts(body: bytes, name: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(body).iterfind(f".//{_ANY}{name}")]


def _price_answer(asked: dict[str, str], environ: dict[str, Any]) -> bytes | None:
    """What AWS would say to a question about prices; None for any other question."""
    if asked.get("Action") == "DescribeSpotPriceHistory":
        return _spot_prices(asked.get("InstanceType.1", ""), asked.get("StartTime", ""))
    if environ.get("HTTP_X_AMZ_TARGET") == "AWSPriceListService.GetProducts":
        filters = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))["Filters"]
        return _price_list(next(filter["Value"] for filter in filters if filter["Field"] == "instanceType"))
    return None


def _spot_prices(kind: str, since: str) -> bytes:
    items = "".join(
        f"<item><instanceType>{kind}</instanceType><productDescription>Linux/UNIX</productDescription>"
        f"<spotPrice>{SPOT_USD_PER_HOUR[kind]}</spotPrice><timestamp>{since}</timestamp>"
        f"<availabilityZone>{zone}</availabilityZone></item>"
        for zone in ZONES
        if kind in SPOT_USD_PER_HOUR
    )
    answer = f"<DescribeSpotPriceHistoryResponse><spotPriceHistorySet>{items}</spotPriceHistorySet>"
    return f"{answer}</DescribeSpotPriceHistoryResponse>".encode()


def _price_list(kind: str) -> bytes:
    if kind not in ON_DEMAND_USD_PER_HOUR:
        return b'{"PriceList": []}'
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": ON_DEMAND_USD_PER_HOUR[kind]}}
    product = {"terms": {"OnDemand": {"term": {"priceDimensions": {"dimension": dimension}}}}}
    return json.dumps({"PriceList": [json.dumps(product)]}).encode()
