//! Reading a local file: `pread` into pooled buffers, or a mapping.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path as OsPath;
use std::sync::Arc;

use bytes::Bytes;

use super::pool::Pool;
use super::{Piece, ReadAhead, copy_end, end_of};
use crate::objstore::counting::{Counters, Op};
use crate::objstore::error::{Error, Kind, Result, Scene};
use crate::tsdb;
use crate::tsdb::source::{BlobReader, MemBlob};

/// A file of a folder bucket. The kernel reads ahead, so one window is enough.
pub(in crate::objstore) struct FileReader {
    file: File,
    name: String,
    size: u64,
    window: usize,
    pool: Arc<Pool>,
    current: Option<Piece>,
    counters: Arc<Counters>,
    scene: Arc<Scene>,
}

impl FileReader {
    pub fn open(
        path: &OsPath,
        name: &str,
        size: u64,
        ahead: ReadAhead,
        scene: Arc<Scene>,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let file = open(path, name, &scene)?;
        let found = length(&file).map_err(|err| scene.local(name, "stat", &err))?;
        if found != size {
            let what = format!("{found} bytes now, {size} when listed");
            return Err(scene.error(Kind::Changed, name, what));
        }
        let most = usize::try_from(size).unwrap_or(usize::MAX).max(1);
        let window = ahead.window.clamp(1, most);
        Ok(Self {
            file,
            name: name.to_owned(),
            size,
            window,
            pool: Pool::new(window, ahead.depth.max(1)),
            current: None,
            counters,
            scene,
        })
    }

    fn read(&mut self, offset: u64, min_len: usize) -> Result<Bytes> {
        if offset >= self.size {
            return Ok(Bytes::new());
        }
        let end = end_of(offset, min_len, self.size);
        let tail = self.current.as_ref().and_then(|piece| piece.from(offset));
        let tail = tail.unwrap_or_default();
        if offset + tail.len() as u64 >= end {
            return Ok(tail);
        }
        // What is already there is copied, the rest read behind it.
        let full = offset.saturating_add(self.window as u64).min(self.size);
        let data = if end <= full {
            self.read_pooled(offset, full, &tail)?
        } else {
            self.read_large(offset, copy_end(offset, end, self.window, self.size), &tail)?
        };
        self.current = Some(Piece {
            start: offset,
            data: data.clone(),
        });
        Ok(data)
    }

    fn read_pooled(&mut self, offset: u64, end: u64, tail: &[u8]) -> Result<Bytes> {
        debug_assert!(end - offset <= self.pool.buffer_size() as u64);
        let mut buffer = self.pool.take();
        buffer.push(tail);
        let place = offset + tail.len() as u64;
        // The buffer holds a window, and the range is no longer than one.
        let len = usize::try_from(end - place).unwrap_or(usize::MAX);
        let room = buffer.free().get_mut(..len).unwrap_or_default();
        self.pread(room, place)?;
        buffer.advance(len);
        Ok(buffer.freeze())
    }

    /// A request beyond the window. `end` lies within the real file, so its
    /// size bounds the memory.
    fn read_large(&mut self, offset: u64, end: u64, tail: &[u8]) -> Result<Bytes> {
        let len = usize::try_from(end - offset).map_err(|_| {
            self.scene.error(
                Kind::TooLarge,
                &self.name,
                "the range does not fit into memory",
            )
        })?;
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(tail);
        bytes.resize(len, 0);
        let place = offset + tail.len() as u64;
        let room = bytes.get_mut(tail.len()..).unwrap_or_default();
        self.pread(room, place)?;
        Ok(Bytes::from(bytes))
    }

    fn pread(&self, room: &mut [u8], offset: u64) -> Result<()> {
        self.counters.add(Op::GetRange, room.len() as u64);
        self.file.read_exact_at(room, offset).map_err(|err| {
            let err = match err.kind() {
                // The size was checked on opening: somebody cut the file.
                ErrorKind::UnexpectedEof => {
                    let what = format!("shorter than its {} bytes", self.size);
                    self.scene.error(Kind::Changed, &self.name, what)
                }
                _ => self.scene.local(&self.name, "read", &err),
            };
            err.at(offset)
        })
    }
}

impl BlobReader for FileReader {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.size
    }

    fn window(&mut self, offset: u64, min_len: usize) -> tsdb::Result<Bytes> {
        self.read(offset, min_len).map_err(|err| tsdb::Error::Read {
            file: self.name.clone(),
            offset: err.offset.unwrap_or(offset),
            source: Box::new(err),
        })
    }
}

/// Maps a whole file.
pub(in crate::objstore) fn map(path: &OsPath, name: &str, scene: &Scene) -> Result<MemBlob> {
    let file = open(path, name, scene)?;
    let fail = |err: io::Error| scene.local(name, "map", &err);
    if length(&file).map_err(fail)? == 0 {
        return Ok(MemBlob::new(name, Bytes::new()));
    }
    Ok(MemBlob::new(name, mapped(&file).map_err(fail)?))
}

/// The bytes of a file that is not empty.
#[cfg(not(miri))]
fn mapped(file: &File) -> io::Result<Bytes> {
    // SAFETY: the mapping is read-only and shared. It is sound as long as no
    // one writes into or shortens the file while it is mapped. Files of a
    // bucket are replaced by renaming, never written in place, and a deleted
    // file stays readable; our scratch files are mapped only once complete.
    let mapping = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(mapping))
}

/// Miri cannot map a file, so there what stands around the mapping runs over a
/// copy, with the same owner of the bytes in between.
#[cfg(miri)]
fn mapped(mut file: &File) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(Bytes::from_owner(bytes))
}

fn open(path: &OsPath, name: &str, scene: &Scene) -> Result<File, Error> {
    File::open(path).map_err(|err| scene.local(name, "open", &err))
}

/// The size of a regular file; a directory is "not found", as in any bucket.
fn length(file: &File) -> io::Result<u64> {
    let found = file.metadata()?;
    if found.is_file() {
        Ok(found.len())
    } else {
        Err(io::Error::new(ErrorKind::NotFound, "not a regular file"))
    }
}
