//! What the process itself uses, under the names that Prometheus' own clients have for it.
//! Read from `/proc` when it is asked for; where there is none, these metrics are missing.

use std::{fs, io};

use metrics::{counter, gauge};

/// Sets the gauges to what they are now.
pub(super) fn observe() {
    // Other systems have no such files, and a process that has no files left cannot open them.
    if let Err(error) = read() {
        tracing::debug!(%error, "the process's own figures cannot be read");
    }
}

fn read() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    if let Some(kib) = field(&status, "VmRSS:") {
        gauge!("process_resident_memory_bytes").set(kib * 1024.0);
    }
    if let Some(threads) = field(&status, "Threads:") {
        gauge!("process_threads").set(threads);
    }
    if let Some(ticks) = ticks(&fs::read_to_string("/proc/self/stat")?) {
        let seconds = ticks / rustix::param::clock_ticks_per_second();
        counter!("process_cpu_seconds_total").absolute(seconds);
    }
    gauge!("process_open_fds").set(fs::read_dir("/proc/self/fd")?.count() as f64);
    let (most, _) = rlimit::Resource::NOFILE.get()?;
    gauge!("process_max_fds").set(most as f64);
    Ok(())
}

/// A number of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor time, by the process and for it. The program's name stands before, in
/// parentheses, and may itself hold any character.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_the_kernel_writes() {
        let status = "Name:\thookmill\nVmRSS:\t   20480 kB\nThreads:\t12\n";
        assert_eq!(
            (field(status, "VmRSS:"), field(status, "Threads:")),
            (Some(20480.0), Some(12.0))
        );
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1 0 0 0 700 300 0 0 20 0 12 0 1 1 1";
        assert_eq!(ticks(stat), Some(1000));
        assert_eq!(ticks("nothing"), None);
    }
}
