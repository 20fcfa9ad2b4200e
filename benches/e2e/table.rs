//! Tables of at most 80 columns that are Markdown, too.

use std::io::Write;

use crate::measure::Cost;

const WIDTHS: [usize; 9] = [12, 5, 5, 4, 7, 6, 4, 5, 4];

/// Head of a table of ours beside Thanos.
pub fn head() {
    line(
        &[
            "", "ours", "CPU", "MiB", "Thanos", "CPU", "MiB", "time", "mem",
        ]
        .map(str::to_owned),
    );
    let mut rules = WIDTHS.map(|w| format!("{}:", "-".repeat(w - 1)));
    rules[0] = "-".repeat(WIDTHS[0]);
    line(&rules);
}

/// A row: seconds, MiB, and how many times ours Thanos took of both.
pub fn beside(name: &str, ours: &Cost, theirs: Option<&Cost>) {
    let none = || "–".to_owned();
    let [wall, cpu, mib, time, mem] = match theirs {
        None => [none(), none(), none(), none(), none()],
        Some(t) if t.stopped => [
            format!("> {:.0}", t.wall),
            none(),
            none(),
            format!("> {:.0}x", t.wall / ours.wall),
            none(),
        ],
        Some(t) => [
            format!("{:.2}", t.wall),
            format!("{:.2}", t.cpu),
            format!("{:.0}", t.peak_mib),
            format!("{:.1}x", t.wall / ours.wall),
            format!("{:.1}x", t.peak_mib / ours.peak_mib),
        ],
    };
    line(&[
        name.to_owned(),
        format!("{:.2}", ours.wall),
        format!("{:.2}", ours.cpu),
        format!("{:.0}", ours.peak_mib),
        wall,
        cpu,
        mib,
        time,
        mem,
    ]);
    if let Some(stopped) = theirs.filter(|t| t.stopped) {
        println!("\nThanos: > {:.0} s, stopped.", stopped.wall);
    }
}

fn line(cells: &[String; 9]) {
    print!("|");
    for (i, (cell, width)) in cells.iter().zip(WIDTHS).enumerate() {
        if i == 0 {
            print!(" {cell:<width$} |");
        } else {
            print!(" {cell:>width$} |");
        }
    }
    println!();
    // Rows take minutes; a pipe is not to hold them back.
    let _ = std::io::stdout().flush();
}
