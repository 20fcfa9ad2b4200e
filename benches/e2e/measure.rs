//! What a child process costs, as the kernel counts it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::lab::Result;

/// Longest time a child may take; `None` for as long as it likes.
pub type Limit = Option<Duration>;

/// What one child process cost.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Seconds from its start to its end.
    pub wall: f64,
    /// Seconds of all its threads, the kernel's work for it included.
    pub cpu: f64,
    /// Highest resident memory.
    pub peak_mib: f64,
    /// It was killed at the limit.
    pub stopped: bool,
}

/// Runs a child and asks the kernel what it used. Its output goes to `log`,
/// the end of which is in the error if it fails.
pub fn measure(command: &mut Command, limit: Limit, log: &Path) -> Result<Cost> {
    let file = File::create(log).and_then(|f| Ok((f.try_clone()?, f)));
    let (out, err) = file.map_err(|e| format!("cannot write {}: {e}", log.display()))?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let started = Instant::now();
    let child = command
        .spawn()
        .map_err(|e| format!("cannot start {}: {e}", name(command)))?;
    let pid = child.id();
    let stopped = wait(pid, limit);
    let wall = started.elapsed().as_secs_f64();
    let (status, usage) = reap(pid)?;
    if !stopped && status != 0 {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines[lines.len().saturating_sub(8)..].join("\n");
        return Err(format!(
            "{} ended with wait status {status}:\n{tail}",
            name(command)
        ));
    }
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    Ok(Cost {
        wall,
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        // The kernel counts KiB.
        peak_mib: usage.ru_maxrss as f64 / 1024.0,
        stopped,
    })
}

/// Lets a child run on the first so many cores only.
pub fn pin(command: &mut Command, cores: usize) {
    // SAFETY: a set of bits, for which all zeros is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in 0..cores {
        // SAFETY: writes into the set, which is far larger than any machine.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    let apply = move || {
        // SAFETY: a system call; the pointer is to what the closure owns.
        match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one system call and no allocation.
    unsafe { command.pre_exec(apply) };
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().map_or_else(
        || "the program".to_owned(),
        |n| n.to_string_lossy().into_owned(),
    )
}

/// Waits until the child has ended, without reaping it, so that its number
/// cannot become another's while the watch may still kill it. Returns whether
/// it had to.
fn wait(pid: u32, limit: Limit) -> bool {
    let (ended, end) = channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = limit.is_some_and(|limit| {
            let waited = end.recv_timeout(limit);
            waited == Err(RecvTimeoutError::Timeout)
        });
        if late {
            // SAFETY: a system call on numbers; the child is not reaped yet.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
        }
        late
    });
    // SAFETY: siginfo is plain numbers, for which all zeros is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: the pointer is to a live local.
    while unsafe { libc::waitid(libc::P_PID, pid, &raw mut info, flags) } != 0 {}
    drop(ended);
    watch.join().unwrap_or(false)
}

fn reap(pid: u32) -> Result<(i32, libc::rusage)> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeros is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals, and the child is ours and was
    // not reaped yet.
    let reaped = unsafe { libc::wait4(pid.cast_signed(), &raw mut status, 0, &raw mut usage) };
    if reaped < 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    Ok((status, usage))
}
