//! Numbers for people.

/// `1.5 GiB`; whole bytes below 1 KiB.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `1,234,567`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Change from `before` to `after` in percent, `-41 %`; empty from zero.
pub(super) fn change(before: u64, after: u64) -> String {
    if before == 0 {
        return String::new();
    }
    let percent = (after as f64 - before as f64) / before as f64 * 100.0;
    format!("{percent:+.0} %")
}

/// Columns of a page: those of a terminal that everybody has, but one.
pub(super) const WIDTH: usize = 79;

/// Breaks a text at blanks and indents it, for pages of [`WIDTH`] columns. A
/// word longer than a line is broken anywhere.
pub(super) fn wrapped(page: &mut String, text: &str, indent: usize) {
    let mut column = 0;
    let room = WIDTH.saturating_sub(indent).max(1);
    for word in text.split_whitespace().flat_map(|word| pieces(word, room)) {
        let len = word.chars().count();
        if column > 0 && indent + column + 1 + len > WIDTH {
            page.push('\n');
            column = 0;
        }
        if column == 0 {
            page.push_str(&" ".repeat(indent));
        } else {
            page.push(' ');
            column += 1;
        }
        page.push_str(word);
        column += len;
    }
    page.push('\n');
}

/// A word in pieces of at most `most` characters.
fn pieces(word: &str, most: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some((end, _)) = rest.char_indices().nth(most) {
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_can_read_them() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(change(200, 100), "-50 %");
        assert_eq!(change(0, 5), "");
    }
}
