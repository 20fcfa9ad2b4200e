//! How much memory the process has used, and how much it may use.

use std::path::{Path, PathBuf};

/// Highest resident memory of the process so far, bytes; `None` where the
/// system does not tell.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// The control group of the process: a container's limit.
    ControlGroup,
    /// The memory of the machine.
    Machine,
}

/// What the process may use, bytes, by its control group or else the machine;
/// `None` where the system does not tell.
pub fn limit_bytes() -> Option<(u64, LimitedBy)> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text))?;
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = limit_files(&groups).into_iter();
    let group = limits.filter_map(|file| read(&file)?.trim().parse::<u64>().ok());
    // A group without a limit says "max", or a number beyond any machine.
    Some(match group.min() {
        Some(limit) if limit < machine => (limit, LimitedBy::ControlGroup),
        _ => (machine, LimitedBy::Machine),
    })
}

/// `MemTotal` of `/proc/meminfo`, bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|l| l.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Files that may hold the limit of one of the groups in `/proc/self/cgroup`
/// or of a group above it, both versions. In a container the path may be that
/// of the host and not exist; then the root is the container's own group.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let own = Path::new(root).join(path.trim_start_matches('/'));
        let above = own.ancestors().take_while(|p| p.starts_with(root));
        files.extend(above.map(|p| p.join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells() {
        assert!(peak_rss_bytes().unwrap() > 100_000);
        assert!(limit_bytes().unwrap().0 > 1 << 20);
    }

    #[test]
    fn both_versions_of_groups_are_looked_at_from_the_group_up() {
        let groups = "5:devices:/x\n4:cpu,memory:/pods/a\n0::/pods/b\n";
        let files: Vec<String> = limit_files(groups)
            .iter()
            .map(|f| f.display().to_string())
            .collect();
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/memory/pods/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/pods/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/pods/b/memory.max",
                "/sys/fs/cgroup/pods/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(total("MemFree: 1 kB\nMemTotal:  16 kB\n"), Some(16384));
    }
}
