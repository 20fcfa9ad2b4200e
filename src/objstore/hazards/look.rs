//! The questions to the store.

use object_store::ObjectStoreExt;
use object_store::list::PaginatedListOptions;

use super::judge::{Answers, Stale, judge};
use super::rules::is_ours;
use super::{
    Hazard, HazardKind, Hazards, MEASURED_UPLOADS, NotLookedAt, Probing, STALE_MS, TIME_LIMIT,
    UPLOAD_PAGES,
};
use crate::objstore::bucket::{Bucket, BucketKind};
use crate::objstore::counting::Op;
use crate::objstore::error::{Error, Kind, Result};
use crate::objstore::sdk::{Admin, PendingUpload, StoreResult};

/// An upload that nobody has begun, of an object that nobody writes.
const NO_NAME: &str = "lithify/rights";
const NO_UPLOAD: &str = "lithify-asks-for-its-rights";

/// A question: what it is about and which right it needs.
type Question = (&'static str, &'static str);

const VERSIONING: Question = ("versioning", "s3:GetBucketVersioning");
const LIFECYCLE: Question = ("lifecycle rules", "s3:GetLifecycleConfiguration");
const LOCK: Question = ("object lock", "s3:GetBucketObjectLockConfiguration");
const UPLOADS: Question = (
    "pending uploads",
    "s3:ListBucketMultipartUploads, s3:ListMultipartUploadParts",
);
const WRITING: Question = (
    "rights to write and delete",
    "s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload",
);

impl Bucket {
    /// Looks for settings of the bucket that do harm; `now_ms` is the time,
    /// milliseconds since the epoch. Folders and buckets in memory have none.
    ///
    /// Never fails and never takes long: see [`Hazards::not_looked_at`].
    pub async fn hazards(&self, now_ms: i64, probing: Probing) -> Hazards {
        if self.kind() != BucketKind::S3 {
            return Hazards::default();
        }
        let mut look = Look {
            bucket: self,
            hazards: Hazards::default(),
        };
        let done = tokio::time::timeout(TIME_LIMIT, look.all(now_ms, probing)).await;
        if done.is_err() {
            let why = format!("no answer within {} s", TIME_LIMIT.as_secs());
            look.not(("some settings of the bucket", "a store that answers"), why);
        }
        let mut hazards = look.hazards;
        hazards.found.sort_by_key(|hazard| hazard.kind as u8);
        hazards
    }
}

struct Look<'a> {
    bucket: &'a Bucket,
    hazards: Hazards,
}

impl Look<'_> {
    async fn all(&mut self, now_ms: i64, probing: Probing) {
        self.rights_to_read().await;
        let admin = match self.bucket.admin() {
            Ok(Some(admin)) => admin,
            Ok(None) => return,
            Err(error) => return self.not(("settings of the bucket", "aws-sdk"), error.detail),
        };
        let calls = &admin.calls;
        let (versioned, rules, pending) = futures::join!(
            self.ask(calls.versioning()),
            self.ask(calls.lifecycle()),
            self.bucket.uploads_within("", UPLOAD_PAGES),
        );
        let mut answers = Answers {
            versioned: self.answer(VERSIONING, versioned),
            rules: self.answer(LIFECYCLE, rules),
            ..Answers::default()
        };
        // Object lock needs versioning.
        if answers.versioned != Some(false) {
            let lock = self.ask(calls.object_lock()).await;
            answers.lock = self.answer(LOCK, lock).flatten();
        }
        if let Some(found) = self.answer(UPLOADS, pending) {
            answers.stale = self.measure(found.uploads, now_ms).await;
            answers.stale.at_least |= found.more;
        }
        let found = judge(&answers, &admin.prefix);
        self.hazards.found.extend(found);
        match probing {
            Probing::ReadOnly => self.not(WRITING, "not probed: a dry run changes nothing".into()),
            Probing::All => self.right_to_abort(admin).await,
        }
    }

    /// Lists one name and reads one byte of it.
    async fn rights_to_read(&mut self) {
        let Some(probe) = self.bucket.prober() else {
            return;
        };
        self.bucket.counters().add(Op::List, 0);
        let options = PaginatedListOptions {
            max_keys: Some(1),
            ..PaginatedListOptions::default()
        };
        let listed = probe.store.list_paginated(probe.prefix.as_deref(), options);
        let first = match listed.await {
            Ok(page) => page.result.objects.into_iter().next(),
            Err(err) => {
                let error = self.bucket.scene().blame("", &err);
                return self.may_not("s3:ListBucket", "list objects", &error);
            }
        };
        let Some(first) = first.filter(|object| object.size > 0) else {
            return;
        };
        let prefix = probe.prefix.as_deref().unwrap_or_default();
        let Some(name) = first.location.as_ref().strip_prefix(prefix) else {
            return;
        };
        let Ok(path) = self.bucket.path(name) else {
            return;
        };
        if let Err(err) = self.bucket.store().get_range(&path, 0..1).await {
            let error = self.bucket.scene().blame(name, &err);
            self.may_not("s3:GetObject", "read objects", &error);
        }
    }

    /// Adds up the parts of stale uploads of ours, of the oldest first.
    async fn measure(&self, pending: Vec<PendingUpload>, now_ms: i64) -> Stale {
        let old = |upload: &PendingUpload| now_ms.saturating_sub(upload.begun_ms) > STALE_MS;
        let mut stale = Stale {
            uploads: pending
                .into_iter()
                .filter(|upload| old(upload) && is_ours(&upload.name))
                .collect(),
            ..Stale::default()
        };
        stale.uploads.sort_by_key(|upload| upload.begun_ms);
        stale.at_least = stale.uploads.len() > MEASURED_UPLOADS;
        for upload in stale.uploads.iter().take(MEASURED_UPLOADS) {
            match self.bucket.upload_size(upload).await {
                Ok(bytes) => stale.bytes = stale.bytes.saturating_add(bytes),
                Err(_) => stale.at_least = true,
            }
        }
        stale
    }

    /// Aborts an upload that does not exist: only the right to do so matters.
    async fn right_to_abort(&mut self, admin: &Admin) {
        self.bucket.counters().add(Op::Multipart, 0);
        let key = format!("{}{NO_NAME}", admin.prefix);
        if let Err(err) = admin.calls.abort(&key, NO_UPLOAD).await {
            let error = self.bucket.scene().blame("", &err);
            self.may_not("s3:AbortMultipartUpload", "abort uploads", &error);
        }
    }

    /// One request that reads a setting.
    async fn ask<T>(&self, call: impl Future<Output = StoreResult<T>>) -> Result<T> {
        self.bucket.counters().add(Op::Head, 0);
        call.await
            .map_err(|err| self.bucket.scene().blame("", &err))
    }

    fn answer<T>(&mut self, question: Question, answer: Result<T>) -> Option<T> {
        match answer {
            Ok(value) => return Some(value),
            // A store that does not know the call has no such setting.
            Err(error) if error.kind == Kind::Unsupported => {}
            Err(error) => self.not(question, error.summary()),
        }
        None
    }

    fn not(&mut self, (what, needs): Question, why: String) {
        self.hazards
            .not_looked_at
            .push(NotLookedAt { what, needs, why });
    }

    fn may_not(&mut self, right: &str, what: &str, error: &Error) {
        // Anything else will be told by whoever needs it.
        if error.kind == Kind::Denied {
            self.hazards.found.push(Hazard::new(
                HazardKind::Permission,
                format!("these credentials may not {what}: {}", error.detail),
                format!("allow {right} on this bucket and prefix"),
            ));
        }
    }
}
