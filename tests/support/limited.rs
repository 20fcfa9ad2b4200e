//! A child under hard limits of the kernel, and what it used.

// Every test binary compiles all of this and uses a part of it.
#![allow(dead_code)]

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest time a child gets: far more than any needs, so that one that hangs
/// fails its test instead of the whole suite.
const PATIENCE: Duration = Duration::from_secs(900);

/// What a child may use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Bytes of memory: of private writable memory (`RLIMIT_DATA`; what is
    /// only reserved counts, mapped files that are only read do not), and of a
    /// memory cgroup where one can be made.
    pub memory: Option<u64>,
    /// Size of any file it writes, bytes. A write past it fails as if the
    /// disk were full, with another error number.
    pub file: Option<u64>,
}

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// Highest resident memory, bytes.
    pub peak: u64,
    /// Whether a memory cgroup held it, too.
    pub in_cgroup: bool,
}

impl Ended {
    /// Exit code 0, or the test fails with what the child said.
    #[track_caller]
    pub fn succeeded(self, what: &str) -> Self {
        assert!(
            self.status.success(),
            "{what}: {} after {} MiB:\n{}",
            self.status,
            self.peak >> 20,
            self.stderr
        );
        self
    }
}

/// The program to test: the one of this build, or the one that was named, as
/// `tests/limits-full` does.
pub fn program() -> PathBuf {
    let named = std::env::var_os("LITHIFY_PROGRAM").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_lithify").into())
}

/// `lithify compact` of a folder, the replicas of a pair merged, nothing
/// downsampled.
pub fn compact(bucket: &Path, data: &Path) -> Command {
    let mut command = compact_and_downsample(bucket, data);
    command.arg("--downsampling.disable");
    command
}

/// The same with lower resolutions, in one pass.
pub fn compact_and_downsample(bucket: &Path, data: &Path) -> Command {
    let yaml = format!(
        "type: FILESYSTEM\nconfig:\n  directory: {}\n",
        bucket.display()
    );
    let mut command = Command::new(program());
    command
        .args(["compact", "--consistency-delay=0s"])
        .arg("--deduplication.replica-label=prometheus_replica")
        .arg(format!("--objstore.config={yaml}"))
        .arg(format!("--data-dir={}", data.display()));
    command
}

/// Runs a child to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(mut command: Command, limits: Limits) -> Ended {
    // Pipes, as a limit on files would hold for files with output, too.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let cgroup = limits.memory.and_then(Cgroup::create);
    let join = cgroup.as_ref().map(Cgroup::entrance);
    let apply = move || {
        if let Some(file) = &join {
            enter(file)?;
        }
        set(libc::RLIMIT_CORE, Some(0))?;
        set(libc::RLIMIT_DATA, limits.memory)?;
        set(libc::RLIMIT_FSIZE, limits.file)?;
        // Ignored stays ignored in the program, and the write fails instead.
        // SAFETY: a system call on numbers.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        Ok(())
    };
    // SAFETY: between fork and exec it only makes system calls; all memory
    // that they need was allocated before.
    unsafe { command.pre_exec(apply) };
    #[expect(clippy::zombie_processes, reason = "wait4 is what waits for it")]
    let mut child = command.spawn().expect("the child starts");
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let (status, usage) = wait(child.id().cast_signed());
    Ended {
        status,
        stdout: stdout.join().expect("output"),
        stderr: stderr.join().expect("output"),
        // The kernel counts KiB.
        peak: usage.ru_maxrss.cast_unsigned() * 1024,
        in_cgroup: cgroup.is_some(),
    }
}

/// Reads a pipe to its end, so that it never fills up.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).expect("output");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn set(resource: libc::__rlimit_resource_t, limit: Option<u64>) -> io::Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    let limit = libc::rlimit {
        rlim_cur: limit,
        rlim_max: limit,
    };
    // SAFETY: the pointer is to a live local.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts the calling process into a cgroup.
fn enter(file: &CString) -> io::Result<()> {
    // SAFETY: the string ends in zero, and the buffer is as long as stated.
    let written = unsafe {
        let fd = libc::open(file.as_ptr(), libc::O_WRONLY);
        let written = libc::write(fd, c"0".as_ptr().cast(), 1);
        libc::close(fd);
        written
    };
    if written == 1 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

fn wait(pid: i32) -> (ExitStatus, libc::rusage) {
    let started = Instant::now();
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeros is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        let late = started.elapsed() > PATIENCE;
        if late {
            // SAFETY: a system call on numbers; the child is not reaped yet.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let flags = if late { 0 } else { libc::WNOHANG };
        // SAFETY: both pointers are to live locals, and the child is ours.
        match unsafe { libc::wait4(pid, &raw mut status, flags, &raw mut usage) } {
            0 => std::thread::sleep(Duration::from_millis(2)),
            reaped => {
                assert_eq!(reaped, pid, "{}", io::Error::last_os_error());
                return (ExitStatus::from_raw(status), usage);
            }
        }
    }
}

/// A memory cgroup for one child, removed when dropped.
struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// `None` where this process may not make one: no test depends on it, as
    /// `RLIMIT_DATA` holds everywhere.
    fn create(limit: u64) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lithify-test-{}-{number}", std::process::id());
        // Version 1 has a tree for memory alone; version 2 has one tree.
        let trees = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        trees.into_iter().find_map(|(tree, file)| {
            let cgroup = Self {
                folder: Path::new(tree).join(&name),
            };
            fs::create_dir(&cgroup.folder).ok()?;
            // In version 2 the file is missing unless the parent gives memory on.
            let limited = fs::write(cgroup.folder.join(file), limit.to_string());
            limited.is_ok().then_some(cgroup)
        })
    }

    fn entrance(&self) -> CString {
        let file = self.folder.join("cgroup.procs");
        CString::new(file.as_os_str().as_bytes()).expect("no zero in a path")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel may need a moment after the last process has gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
