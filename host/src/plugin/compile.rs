//! Compiles components, in a child process with limits, one at a time.
//!
//! The child is this very program: it reads a header line and a component from its input and
//! writes machine code. Its input stays open while it works: when that ends, the server has
//! gone, and so does the child. Owns both ends of that conversation. Never looks at what a
//! component is; [`super::inspect`] has done so.

use std::{
    io::{self, BufRead, Read, Write},
    path::Path,
    process::{ExitCode, Stdio},
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime::Engine;

use super::{
    Rejection, engine,
    load::TrustedCode,
    settings::{CompileLimits, Compiler},
};

/// The argument the program is called with to compile.
pub const COMPILE_ARGUMENT: &str = "compile-component";

const PROTOCOL: &str = "hookmill-compile-3";
/// The component was refused; what is on standard error says why.
const REFUSED: u8 = 3;
const MAX_CODE: u64 = 1 << 30;
const MAX_MESSAGE: u64 = 4 << 10;

fn uncompilable(detail: impl Into<String>) -> Rejection {
    Rejection { code: "uncompilable", detail: detail.into() }
}

fn too_complex(limits: &CompileLimits) -> Rejection {
    Rejection {
        code: "too-complex",
        detail: format!(
            "the component did not compile within {} s of processor time and {} MiB; make it \
             smaller, or build it with optimisation for size",
            limits.cpu.as_secs(),
            limits.address_space >> 20
        ),
    }
}

/// The clock says nothing about the component: the machine may have had other things to do.
fn timed_out(limits: &CompileLimits) -> Rejection {
    Rejection {
        code: "compile-timeout",
        detail: format!(
            "the component did not compile within {} s by the clock; try again when the server's \
             machine is less busy",
            limits.wall.as_secs()
        ),
    }
}

/// Compiles `component`.
pub(super) async fn compile(
    compiler: &Compiler,
    limits: CompileLimits,
    component: &[u8],
) -> Result<TrustedCode, Rejection> {
    let code = match compiler {
        Compiler::Child(program) => in_children(program, limits, component).await?,
        Compiler::InProcess => {
            let component = component.to_vec();
            tokio::task::spawn_blocking(move || precompile(&component))
                .await
                .map_err(|_| uncompilable("the compiler failed on this component"))?
                .map_err(uncompilable)?
        }
    };
    Ok(TrustedCode::vouch(code))
}

fn precompile(component: &[u8]) -> Result<Vec<u8>, String> {
    let engine = engine::compiling().map_err(|e| format!("{e:#}"))?;
    engine.precompile_component(component).map_err(|e| format!("{e:#}"))
}

/// A child that is ended when nobody waits for it any more, and taken note of: the async
/// runtime alone would leave a dead one in the system's table until the next is started.
struct Compiling(Option<tokio::process::Child>);

impl Drop for Compiling {
    fn drop(&mut self) {
        let (Some(mut child), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        // It may have ended by itself just now.
        let _ = child.start_kill();
        runtime.spawn(async move {
            let _ = child.wait().await;
        });
    }
}

fn header(limits: &CompileLimits, manner: Manner, component: &[u8]) -> String {
    let cpu = limits.cpu.as_secs().max(1);
    let (manner, length) = (manner.as_str(), component.len());
    format!("{PROTOCOL} {manner} {cpu} {} {length}\n", limits.address_space)
}

/// How long to wait for idle time: what is small is soon done, or the machine is busy, and whoever
/// uploaded it waits.
fn patience(component: usize) -> Duration {
    const MIB: u64 = 1 << 20;
    Duration::from_millis(3_000 + component as u64 * 5_000 / MIB)
}

/// First with the time that nobody else wants. If there is too little of it, from the beginning,
/// with a share of everybody's: a process may not raise its own priority again.
async fn in_children(
    program: &Path,
    limits: CompileLimits,
    component: &[u8],
) -> Result<Vec<u8>, Rejection> {
    let idle = patience(component.len()).min(limits.idle).min(limits.wall);
    for (manner, wall) in [(Manner::Idle, idle), (Manner::Modest, limits.wall - idle)] {
        let compiling = in_child(program, limits, manner, component);
        if let Ok(result) = tokio::time::timeout(wall, compiling).await {
            return result;
        }
        tracing::info!(manner = manner.as_str(), ?wall, "a component did not compile in time");
    }
    Err(timed_out(&limits))
}

async fn in_child(
    program: &Path,
    limits: CompileLimits,
    manner: Manner,
    component: &[u8],
) -> Result<Vec<u8>, Rejection> {
    // Not the upload's fault, so not to be told in the words of a refusal of it.
    let unavailable = |e: io::Error| Rejection {
        code: "compiler-unavailable",
        detail: format!("the compiler process {} could not be used: {e}", program.display()),
    };
    let child = tokio::process::Command::new(program)
        .arg(COMPILE_ARGUMENT)
        // Nothing of this process's secrets is the child's business.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(unavailable)?;
    let mut child = Compiling(Some(child));
    let Some(child) = &mut child.0 else {
        return Err(unavailable(io::Error::other("it is gone")));
    };
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(unavailable(io::Error::other("it has no pipes")));
    };
    let header = header(&limits, manner, component);
    let feed = async {
        // A child that ends early says why by other means.
        let _ = stdin.write_all(header.as_bytes()).await;
        let _ = stdin.write_all(component).await;
        let _ = stdin.flush().await;
    };
    let (mut code, mut message) = (Vec::new(), Vec::new());
    let conversation = async {
        let (mut stdout, mut stderr) = (stdout.take(MAX_CODE), stderr.take(MAX_MESSAGE));
        let (_, code, message) =
            tokio::join!(feed, stdout.read_to_end(&mut code), stderr.read_to_end(&mut message));
        code.and(message)?;
        // What exceeds the bounds is left unread: the child must not wait for a reader.
        drop((stdout, stderr));
        child.wait().await
    };
    let status = conversation.await.map_err(unavailable)?;
    // Until here, or the child would have taken it for the server's end.
    drop(stdin);
    match status.code() {
        Some(0) => Ok(code),
        Some(code) if code == i32::from(REFUSED) => {
            let message = String::from_utf8_lossy(&message);
            Err(uncompilable(format!("the component does not compile: {}", message.trim())))
        }
        // Out of processor time or memory: a signal, or an abort's.
        None => Err(too_complex(&limits)),
        Some(code) => Err(unavailable(io::Error::other(format!(
            "it ended with {code}: {}",
            String::from_utf8_lossy(&message).trim()
        )))),
    }
}

/// The child's `main`: limits itself, compiles its standard input, writes the code to its
/// standard output.
pub fn child_main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Refused(why)) => {
            // Nobody is left to tell if that fails.
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::from(REFUSED)
        }
        Err(Failure::Broken(why)) => {
            let _ = writeln!(io::stderr(), "compile-component: {why}");
            ExitCode::FAILURE
        }
    }
}

/// How a compilation shares the processors with events and deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It has what nobody else wants: whoever has something to do has it at once. On a machine that
    /// always has something to do it never ends.
    Idle,
    /// It has a share, and others wait for a moment when it has its turn.
    Modest,
}

impl Manner {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Modest => "modest",
        }
    }

    /// Has the current thread behave so. Where that cannot be had, it is as it was.
    fn take(self) {
        #[cfg(target_os = "linux")]
        {
            use thread_priority::{
                NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
                set_thread_priority_and_policy, thread_native_id,
            };
            if self == Self::Idle {
                let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
                let _ =
                    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
                return;
            }
        }
        crate::nice::give_way();
    }
}

#[derive(Debug)]
enum Failure {
    Refused(String),
    Broken(String),
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Broken(error.to_string())
}

fn serve() -> Result<(), Failure> {
    let (component, manner) = request(&mut io::stdin().lock())?;
    std::thread::Builder::new().spawn(end_with_server).map_err(broken)?;
    // The compiler's other threads inherit it.
    manner.take();
    // A panic of the compiler is this component's fault, not the program's.
    let code = std::panic::catch_unwind(|| precompile(&component))
        .map_err(|_| Failure::Refused("the compiler failed on it".into()))?
        .map_err(Failure::Refused)?;
    let mut output = io::stdout().lock();
    output.write_all(&code).and_then(|()| output.flush()).map_err(broken)
}

/// Ends the process when its input ends: while the server lives it keeps it open, and however
/// it dies, the system closes it.
fn end_with_server() {
    // Nothing more is sent; whatever comes, the conversation is over.
    let _ = io::stdin().lock().read(&mut [0]);
    std::process::exit(1)
}

/// Reads what is to be compiled and how, under the limits it comes with.
fn request(input: &mut impl BufRead) -> Result<(Vec<u8>, Manner), Failure> {
    let not_for_people = || broken("this command is for the server's own use");
    let mut line = Vec::new();
    input.take(128).read_until(b'\n', &mut line).map_err(broken)?;
    let (manner, numbers) = str::from_utf8(&line)
        .ok()
        .and_then(|line| line.strip_suffix('\n')?.strip_prefix(PROTOCOL)?.strip_prefix(' '))
        .and_then(|rest| rest.split_once(' '))
        .ok_or_else(not_for_people)?;
    let manner = [Manner::Idle, Manner::Modest].into_iter().find(|known| known.as_str() == manner);
    let manner = manner.ok_or_else(not_for_people)?;
    let numbers: Option<Vec<u64>> = numbers.split(' ').map(|number| number.parse().ok()).collect();
    let numbers = numbers.ok_or_else(not_for_people)?;
    let [cpu, address_space, length] = numbers[..] else { return Err(not_for_people()) };
    limit(Duration::from_secs(cpu), address_space).map_err(broken)?;
    let mut component = Vec::new();
    input.take(length).read_to_end(&mut component).map_err(broken)?;
    if component.len() as u64 == length {
        Ok((component, manner))
    } else {
        Err(broken("the server has gone"))
    }
}

#[cfg(unix)]
fn limit(cpu: Duration, address_space: u64) -> io::Result<()> {
    use rlimit::Resource;
    Resource::CPU.set(cpu.as_secs(), cpu.as_secs() + 1)?;
    Resource::CORE.set(0, 0)?;
    // Some systems know no address space limit; the wall clock and processor time remain.
    if Resource::AS.set(address_space, address_space).is_err() && cfg!(target_os = "linux") {
        return Err(io::Error::other("the address space cannot be limited"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn limit(_: Duration, _: u64) -> io::Result<()> {
    Ok(())
}

/// Whether `bytes` are compiled code of some kind, which is never taken from anyone.
pub(super) fn is_precompiled(bytes: &[u8]) -> bool {
    Engine::detect_precompiled(bytes).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: CompileLimits = CompileLimits {
        wall: Duration::from_millis(300),
        idle: Duration::from_millis(200),
        cpu: Duration::from_secs(10),
        address_space: 4 << 30,
    };

    const LONG: Duration = Duration::from_secs(500);

    /// A program that stands in for the compiler: a script, whatever its arguments.
    #[cfg(unix)]
    async fn with_script(limits: CompileLimits, script: &str) -> Result<TrustedCode, Rejection> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("compiler");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        compile(&Compiler::Child(path), limits, b"component").await
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_the_child_does_decides() {
        // As long as it takes: only what never ends is to run out of time.
        let limits = CompileLimits { wall: Duration::from_secs(600), idle: LONG, ..LIMITS };
        let fed = header(&limits, Manner::Idle, b"component") + "component";
        let echo = format!("exec head -c {}", fed.len());
        assert_eq!(with_script(limits, &echo).await.ok().unwrap().bytes(), fed.as_bytes());
        for (script, code) in [
            ("kill -9 $$", "too-complex"),
            ("echo 'bad section' >&2; exit 3", "uncompilable"),
            ("exit 1", "compiler-unavailable"),
        ] {
            let rejection = with_script(limits, script).await.err().unwrap();
            assert_eq!(rejection.code, code, "{script}: {rejection}");
        }
        let rejection = with_script(LIMITS, "exec /bin/sleep 60").await.err().unwrap();
        assert_eq!(rejection.code, "compile-timeout");
        let nowhere = Compiler::Child("/nowhere/hookmill".into());
        let rejection = compile(&nowhere, limits, b"").await.err().unwrap();
        assert_eq!(rejection.code, "compiler-unavailable");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_finds_no_idle_time_is_given_a_share() {
        let limits = CompileLimits { wall: Duration::from_secs(600), ..LIMITS };
        let script = r#"read -r line; case "$line" in *" idle "*) exec /bin/sleep 60;; esac
            echo "$line""#;
        let code = with_script(limits, script).await.ok().unwrap();
        let expected = header(&limits, Manner::Modest, b"component");
        assert_eq!(str::from_utf8(code.bytes()).unwrap(), expected);
    }

    #[test]
    fn the_child_takes_only_its_parent_s_words() {
        let long = "1".repeat(1_000);
        for words in [
            "",
            "\n",
            "idle",
            "idle\n",
            "idle 1 1\n",
            "idle x 1 1\n",
            "idle 1 1 1 1\n",
            "idle 1 1 1",
            "hasty 1 1 1\n",
            "1 1 1\n",
            &long,
        ] {
            let input = format!("{PROTOCOL} {words}");
            let read = request(&mut input.as_bytes());
            assert!(matches!(read, Err(Failure::Broken(_))), "{input}");
        }
        assert!(request(&mut &b"hello\n"[..]).is_err());
    }
}
