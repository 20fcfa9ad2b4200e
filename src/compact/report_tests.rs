use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;
use crate::error::Kind;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(report: &mut RunReport, task: Task) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let error = Error::new(Kind::Retry, "the store is away");
    tracing::subscriber::with_default(subscriber, || report.fail(task, error));
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
}

/// Each task, what its failure is called, what the log names, and whether it is
/// a job.
#[test]
fn each_failure_is_told_as_what_it_was() {
    let group = GroupKey::of(0, &Labels::new());
    let (labels, sources) = (Labels::new(), vec![Ulid::from_parts(1, 1)]);
    let block = Ulid::from_parts(1, 2);
    let compaction = Task::Compaction {
        group,
        labels: labels.clone(),
        sources: sources.clone(),
    };
    let downsampling = Task::Downsampling {
        group,
        labels,
        sources,
    };
    for (task, name, names, is_job) in [
        (compaction, "compaction", group.to_string(), true),
        (downsampling, "downsampling", group.to_string(), true),
        (Task::Mark(block), "mark", block.to_string(), false),
        (Task::Deletion(block), "deletion", block.to_string(), false),
        (Task::Cleanup(block), "clean-up", block.to_string(), false),
    ] {
        let mut report = RunReport::default();
        let line = logged(&mut report, task.clone());
        for word in [
            &format!("{name} failed"),
            names.as_str(),
            "the store is away",
        ] {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert_eq!(report.failures[0].task, task);
        assert_eq!(report.failed_jobs(), usize::from(is_job), "{name}");
        let json = report.to_json(0).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["failures"][0]["task"], name.replace('-', ""));
    }
}
