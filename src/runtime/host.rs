//! Names by which others know this machine and this process.

use std::fs;

/// Longest name that is taken over, bytes: it goes into messages.
const LONGEST: usize = 253;

/// Host name, in a pod that of the pod; `unknown` where the system has none.
pub fn name() -> String {
    let system = || first_line("/proc/sys/kernel/hostname");
    let found = system().or_else(|| std::env::var("HOSTNAME").ok().as_deref().and_then(clean));
    found.unwrap_or_else(|| "unknown".to_owned())
}

/// Tells running kernels apart: another one after every start of a machine, the
/// same in all of its containers. `None` where the system has none.
pub fn boot() -> Option<String> {
    first_line("/proc/sys/kernel/random/boot_id")
}

fn first_line(file: &str) -> Option<String> {
    clean(fs::read_to_string(file).ok()?.lines().next()?)
}

fn clean(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    let end = text.floor_char_boundary(LONGEST);
    text.get(..end).filter(|t| !t.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_of_one_line() {
        let name = name();
        assert!(!name.is_empty() && name.len() <= LONGEST);
        assert!(!name.contains(char::is_control));
        assert_eq!(boot(), boot());
        assert_eq!(clean("  \n"), None);
        assert_eq!(clean("a\tb\n").as_deref(), Some("ab"));
        assert!(clean(&"ß".repeat(200)).is_some_and(|t| t.len() <= LONGEST));
    }
}
