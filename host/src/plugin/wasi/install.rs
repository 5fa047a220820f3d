//! The functions of WASI that mean something to a plugin, by interface and name.
//!
//! Each is a few lines over [`Guest`]; none waits, none looks outside. What is not here becomes
//! a trap in [`super::linker`].

use wasmtime::{
    Result, StoreContextMut, bail,
    component::{ComponentType, LinkerInstance, Lower, Resource},
};

use super::{Absent, state::Stream};
use crate::{model::Timestamp, plugin::host::Guest};

/// `wasi:io/error`; there is never one.
#[derive(Debug, Clone, Copy)]
pub(super) struct IoError;
/// `wasi:io/poll`'s pollable; always ready.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pollable;
/// Standard input; empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input;
/// Standard output or error; which one is told by [`STDERR`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Output;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// Most bytes in one `write`, as `check-write` says.
const MAX_WRITE: usize = 4 << 10;

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[expect(dead_code, reason = "part of the type; no operation here fails")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

type Context<'a> = StoreContextMut<'a, Guest>;
type Streamed<T> = Result<(Result<T, StreamError>,)>;

/// Defines one function; answers whether there is such a one.
pub(super) fn function(
    to: &mut LinkerInstance<'_, Guest>,
    interface: &str,
    name: &str,
) -> Result<bool> {
    match interface.split_once('/') {
        Some(("cli", interface)) => cli(to, interface, name),
        Some(("clocks", interface)) => clocks(to, interface, name),
        Some(("random", interface)) => random(to, interface, name),
        Some(("io", "error" | "poll")) => poll(to, name),
        Some(("io", "streams")) if name.contains("input-stream") => input(to, name),
        Some(("io", "streams")) => output(to, name),
        Some(("filesystem", "preopens")) if name == "get-directories" => {
            to.func_wrap(name, |_: Context<'_>, ()| {
                Ok((Vec::<(Resource<Absent>, String)>::new(),))
            })?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn cli(to: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> Result<bool> {
    match (interface, name) {
        ("environment", "get-environment") => {
            to.func_wrap(name, |_: Context<'_>, ()| Ok((Vec::<(String, String)>::new(),)))?;
        }
        ("environment", "get-arguments") => {
            to.func_wrap(name, |_: Context<'_>, ()| Ok((Vec::<String>::new(),)))?;
        }
        ("environment", "initial-cwd") => {
            to.func_wrap(name, |_: Context<'_>, ()| Ok((None::<String>,)))?;
        }
        ("exit", "exit") => {
            to.func_wrap(name, |_: Context<'_>, (status,): (Result<(), ()>,)| -> Result<()> {
                let how = if status.is_ok() { "success" } else { "failure" };
                bail!("it called exit ({how}); a plugin answers by returning")
            })?;
        }
        ("stdin", "get-stdin") => {
            to.func_wrap(name, |context: Context<'_>, ()| own::<Input>(context, 0))?;
        }
        ("stdout", "get-stdout") => {
            to.func_wrap(name, |context: Context<'_>, ()| own::<Output>(context, STDOUT))?;
        }
        ("stderr", "get-stderr") => {
            to.func_wrap(name, |context: Context<'_>, ()| own::<Output>(context, STDERR))?;
        }
        ("terminal-stdin" | "terminal-stdout" | "terminal-stderr", _) => {
            to.func_wrap(name, |_: Context<'_>, ()| Ok((None::<Resource<Absent>>,)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn clocks(to: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> Result<bool> {
    match (interface, name) {
        ("wall-clock", "now") => {
            to.func_wrap(name, |mut context: Context<'_>, ()| {
                Ok((datetime(context.data_mut().wasi_now()),))
            })?;
        }
        ("wall-clock", "resolution") => {
            to.func_wrap(name, |_: Context<'_>, ()| {
                Ok((Datetime { seconds: 0, nanoseconds: 1 },))
            })?;
        }
        ("monotonic-clock", "now") => {
            to.func_wrap(name, |mut context: Context<'_>, ()| {
                let now = context.data_mut().wasi_now().as_nanosecond();
                Ok((u64::try_from(now).unwrap_or(0),))
            })?;
        }
        ("monotonic-clock", "resolution") => {
            to.func_wrap(name, |_: Context<'_>, ()| Ok((1_u64,)))?;
        }
        ("monotonic-clock", "subscribe-instant" | "subscribe-duration") => {
            to.func_wrap(name, |context: Context<'_>, (_when,): (u64,)| {
                own::<Pollable>(context, 0)
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn random(to: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> Result<bool> {
    match (interface, name) {
        ("random", "get-random-bytes") | ("insecure", "get-insecure-random-bytes") => {
            to.func_wrap(name, |mut context: Context<'_>, (length,): (u64,)| {
                Ok((context.data_mut().wasi_random(length)?,))
            })?;
        }
        ("random", "get-random-u64") | ("insecure", "get-insecure-random-u64") => {
            to.func_wrap(name, |mut context: Context<'_>, ()| Ok((random_u64(&mut context)?,)))?;
        }
        ("insecure-seed", "insecure-seed") => {
            to.func_wrap(name, |mut context: Context<'_>, ()| {
                Ok(((random_u64(&mut context)?, random_u64(&mut context)?),))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn poll(to: &mut LinkerInstance<'_, Guest>, name: &str) -> Result<bool> {
    match name {
        "[method]error.to-debug-string" => {
            to.func_wrap(name, |_: Context<'_>, (_error,): (Resource<IoError>,)| {
                Ok((String::new(),))
            })?;
        }
        "[method]pollable.ready" => {
            to.func_wrap(name, |_: Context<'_>, (_pollable,): (Resource<Pollable>,)| Ok((true,)))?;
        }
        "[method]pollable.block" => {
            to.func_wrap(name, |_: Context<'_>, (_pollable,): (Resource<Pollable>,)| Ok(()))?;
        }
        "poll" => {
            to.func_wrap(name, |_: Context<'_>, (pollables,): (Vec<Resource<Pollable>>,)| {
                if pollables.is_empty() {
                    bail!("poll was called without a pollable");
                }
                let ready: Vec<u32> = (0_u32..).take(pollables.len()).collect();
                Ok((ready,))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn input(to: &mut LinkerInstance<'_, Guest>, name: &str) -> Result<bool> {
    type Sized = (Resource<Input>, u64);
    match name {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            to.func_wrap(name, |_: Context<'_>, _: Sized| -> Streamed<Vec<u8>> {
                Ok((Err(StreamError::Closed),))
            })?;
        }
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => {
            to.func_wrap(name, |_: Context<'_>, _: Sized| -> Streamed<u64> {
                Ok((Err(StreamError::Closed),))
            })?;
        }
        "[method]input-stream.subscribe" => {
            to.func_wrap(name, |context: Context<'_>, (_stream,): (Resource<Input>,)| {
                own::<Pollable>(context, 0)
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn output(to: &mut LinkerInstance<'_, Guest>, name: &str) -> Result<bool> {
    type Written = (Resource<Output>, Vec<u8>);
    match name {
        "[method]output-stream.check-write" => {
            to.func_wrap(name, |_: Context<'_>, _: (Resource<Output>,)| -> Streamed<u64> {
                Ok((Ok(MAX_WRITE as u64),))
            })?;
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            to.func_wrap(
                name,
                |mut context: Context<'_>, (stream, bytes): Written| -> Streamed<()> {
                    if bytes.len() > MAX_WRITE {
                        bail!("a write takes at most {MAX_WRITE} bytes, not {}", bytes.len());
                    }
                    let to = if stream.rep() == STDERR { Stream::Stderr } else { Stream::Stdout };
                    context.data_mut().wasi_write(to, &bytes)?;
                    Ok((Ok(()),))
                },
            )?;
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            to.func_wrap(name, |_: Context<'_>, _: (Resource<Output>,)| -> Streamed<()> {
                Ok((Ok(()),))
            })?;
        }
        "[method]output-stream.subscribe" => {
            to.func_wrap(name, |context: Context<'_>, (_stream,): (Resource<Output>,)| {
                own::<Pollable>(context, 0)
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Hands over a resource, counted.
fn own<R: 'static>(mut context: Context<'_>, rep: u32) -> Result<(Resource<R>,)> {
    context.data_mut().wasi.handle()?;
    Ok((Resource::new_own(rep),))
}

fn random_u64(context: &mut Context<'_>) -> Result<u64> {
    let bytes = context.data_mut().wasi_random(8)?;
    Ok(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// Before 1970 there is no such time: it is the epoch then.
fn datetime(at: Timestamp) -> Datetime {
    Datetime {
        seconds: u64::try_from(at.as_second()).unwrap_or(0),
        nanoseconds: u32::try_from(at.subsec_nanosecond()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_are_the_epoch() {
        let early = datetime(Timestamp::MIN);
        assert_eq!((early.seconds, early.nanoseconds), (0, 0));
        let late = datetime("2026-01-02T03:04:05.5Z".parse().unwrap());
        assert_eq!((late.seconds, late.nanoseconds), (1_767_323_045, 500_000_000));
    }
}
