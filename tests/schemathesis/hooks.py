"""Bodies that are no JSON: WebAssembly components go up, components and databases come down."""

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


@schemathesis.serializer("application/wasm")
def as_it_is(ctx, value):
    return value


@schemathesis.deserializer("application/wasm", "application/vnd.sqlite3")
def text_of_bytes(ctx, response):
    return response.content.decode("latin-1")
