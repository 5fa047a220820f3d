"""Bodies that are no JSON, and packed ones: components go up, components and databases come down,
events come as lines and as they are."""

import gzip
import json
import os
import pathlib

import schemathesis
from hypothesis import strategies as st

COMPONENT = pathlib.Path(os.environ["HOOKMILL_COMPONENT"]).read_bytes()

# A real component, the same cut short, a module without anything in it, and any bytes.
schemathesis.openapi.media_type(
    "application/wasm",
    st.sampled_from([COMPONENT, COMPONENT[:1000], b"\0asm\1\0\0\0"]) | st.binary(max_size=64),
)


@schemathesis.hook
def before_load_schema(ctx, raw_schema):
    """A payload of any type is sent as one of them: components are for plugins."""
    content = raw_schema["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    content["text/plain"] = content.pop("*/*")


@schemathesis.serializer("application/wasm")
def as_it_is(ctx, value):
    return value


@schemathesis.deserializer("application/wasm", "application/vnd.sqlite3")
def text_of_bytes(ctx, response):
    return response.content.decode("latin-1")


@schemathesis.serializer(
    "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"
)
def lines(ctx, value):
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")


def frame(content):
    """A zstd frame of blocks that are not compressed."""
    blocks = [content[at : at + 100_000] for at in range(0, len(content), 100_000)] or [b""]
    head = b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little")
    for number, block in enumerate(blocks):
        is_last = number == len(blocks) - 1
        head += (len(block) << 3 | is_last).to_bytes(3, "little") + block
    return head


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """A body is packed as its header says."""
    headers = case.headers or {}
    pack = {"gzip": gzip.compress, "zstd": frame}.get(headers.get("Content-Encoding"))
    if pack is None:
        return
    sent = case.as_transport_kwargs(base_url="http://127.0.0.1")
    if "json" in sent:
        body = json.dumps(sent["json"]).encode()
    else:
        body = sent.get("data") or b""
        body = body.encode() if isinstance(body, str) else body
    if isinstance(body, bytes):
        kwargs["data"] = pack(body)
