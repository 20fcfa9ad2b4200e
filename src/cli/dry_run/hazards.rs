//! Settings of the bucket that do harm, on the page.

use std::fmt::Write;

use crate::cli::human::wrapped;
use crate::plan::forecast::BucketForecast;

/// Each hazard with its cure, and in one line what nobody could look at.
pub(super) fn hazards(page: &mut String, bucket: &BucketForecast) {
    if bucket.hazards.is_empty() && bucket.not_looked_at.is_empty() {
        return;
    }
    page.push_str("settings of the bucket\n");
    for hazard in &bucket.hazards {
        let mark = if hazard.problem { "problem" } else { "warning" };
        let _ = writeln!(page, "  {mark}: {}", hazard.kind);
        wrapped(page, &hazard.what, 4);
        wrapped(page, &format!("cure: {}", hazard.cure), 4);
    }
    let not = bucket.not_looked_at.iter().map(|not| not.what.as_str());
    let not: Vec<&str> = not.collect();
    if !not.is_empty() {
        let what = format!(
            "not looked at: {} (--dry-run=json says why)",
            not.join(", ")
        );
        wrapped(page, &what, 2);
    }
    page.push('\n');
}
