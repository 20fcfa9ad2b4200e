//! Blocks of a stream as a line of characters.
//!
//! ```text
//!  now    |111111111111111111111111111 11111111111|
//!  after  |3333333333333333333333332222222211111|
//! ```
//!
//! One character is a slice of time: the level of the block that covers most
//! of it, `*` where blocks overlap, `x` for a block kept out of compactions,
//! `!` for a damaged one, blank where there is none.

use crate::plan::forecast::TileForecast;

/// Draws blocks into `width` characters for the times `[from, until)`, ms.
pub(super) fn draw(tiles: &[TileForecast], from: i64, until: i64, width: usize) -> String {
    let slice = |i: usize| {
        let span = i128::from(until) - i128::from(from);
        let at = |n: usize| (i128::from(from) + span * n as i128 / width.max(1) as i128) as i64;
        (at(i), at(i + 1))
    };
    (0..width).map(|i| cell(tiles, slice(i))).collect()
}

/// What stands for the times `[from, until)`.
fn cell(tiles: &[TileForecast], (from, until): (i64, i64)) -> char {
    let part = |t: &TileForecast| t.max_time.min(until).saturating_sub(t.min_time.max(from));
    let inside: Vec<&TileForecast> = tiles.iter().filter(|t| part(t) > 0).collect();
    let Some(most) = inside.iter().max_by_key(|t| part(t)) else {
        return ' ';
    };
    let overlap = inside.iter().enumerate().any(|(i, a)| {
        let others = &inside[i + 1..];
        others.iter().any(|b| {
            let start = a.min_time.max(b.min_time).max(from);
            let end = a.max_time.min(b.max_time).min(until);
            start < end
        })
    });
    match most {
        _ if inside.iter().any(|t| t.damaged) => '!',
        _ if overlap => '*',
        t if t.no_compact => 'x',
        t => char::from_digit(t.level.min(9), 10).unwrap_or('9'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(min: i64, max: i64, level: u32) -> TileForecast {
        TileForecast {
            block: None,
            job: None,
            min_time: min,
            max_time: max,
            level,
            bytes: 0.into(),
            samples: 0.into(),
            no_compact: false,
            damaged: false,
        }
    }

    #[test]
    fn levels_gaps_overlaps_and_marks_show() {
        let mut tiles = vec![tile(0, 20, 1), tile(20, 40, 3), tile(60, 80, 12)];
        assert_eq!(draw(&tiles, 0, 100, 10), "1133  99  ");
        tiles.push(tile(30, 70, 1));
        assert_eq!(draw(&tiles, 0, 100, 10), "113*11*9  ");
        tiles[0].no_compact = true;
        tiles[2].damaged = true;
        assert_eq!(draw(&tiles, 0, 100, 10), "xx3*11!!  ");
        assert_eq!(draw(&tiles, 0, 0, 3), "   ");
        assert_eq!(
            draw(&[tile(i64::MIN, i64::MAX, 2)], i64::MIN, i64::MAX, 2),
            "22"
        );
    }
}
