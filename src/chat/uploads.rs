//! Uploaded pictures: what a file is, is told by its first bytes, and everything else is refused.
//!
//! A file is written under a name that nobody can ask for, and gets its own when it is whole: a number that grows with
//! time, and the ending of what it is. Its row in the store comes last; a file without a row is removed at the next
//! start. Files lie outside any web root and are served by the API only.
//!
//! Limits: `chat.upload_size` bytes each, [`AT_ONCE`] at the same time, `chat.upload_limit` bytes together (at more the
//! oldest go), `chat.upload_ttl` each.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use serde::Deserialize;
use serde::Serialize;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::chat::Chat;
use crate::chat::Error;
use crate::chat::millis;
use crate::ids::MessageIds;
use crate::store::Batch;
use crate::store::Direction;
use crate::store::Key;
use crate::store::Limit;
use crate::store::Parts;
use crate::store::Span;
use crate::store::Store;
use crate::store::Table;

/// The most uploads at the same time.
const AT_ONCE: usize = 64;

/// So many rows are read at once.
const PAGE: Limit = Limit { items: 1_000, bytes: 1024 * 1024 };

/// The first bytes that tell what a file is.
const HEAD: usize = 18;

/// The ending of a file that is not whole.
const PART: &str = ".part";

/// What a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PNG
    Png,
    /// JPEG
    Jpeg,
    /// GIF
    Gif,
    /// WebP
    Webp,
    /// Windows bitmap
    Bmp,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Png, Self::Jpeg, Self::Gif, Self::Webp, Self::Bmp];

    /// What a file is that begins so.
    fn of(head: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| match kind {
            Self::Png => head.starts_with(b"\x89PNG\r\n\x1a\n"),
            Self::Jpeg => head.starts_with(b"\xff\xd8\xff"),
            Self::Gif => head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a"),
            Self::Webp => head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP"),
            Self::Bmp => is_bitmap(head),
        })
    }

    /// The ending of its name.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Bmp => "bmp",
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Bmp => "image/bmp",
        }
    }
}

/// A bitmap has two letters only to begin with: its reserved bytes are 0, and its header has one of a few lengths.
fn is_bitmap(head: &[u8]) -> bool {
    let length =
        head.get(14..18).map(|bytes| bytes.iter().rev().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)));
    head.starts_with(b"BM")
        && head.get(6..10) == Some(&[0; 4])
        && length.is_some_and(|length| [12, 40, 52, 56, 64, 108, 124].contains(&length))
}

/// A file that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What is known of a file, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "b")]
    bytes: u64,
    #[serde(rename = "t")]
    unix_ms: u64,
    #[serde(rename = "u")]
    user: String,
}

/// All files.
#[derive(Debug)]
pub(super) struct Uploads {
    directory: PathBuf,
    ids: MessageIds,
    bytes: AtomicU64,
    at_once: Arc<Semaphore>,
}

/// A file on its way; it is removed when it is not finished.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    file: File,
    head: Vec<u8>,
    kind: Option<Kind>,
    bytes: u64,
    most: usize,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // When it was finished it has another name.
        std::fs::remove_file(&self.path).unwrap_or_default();
    }
}

impl Temporary {
    /// Writes the next bytes.
    ///
    /// # Errors
    ///
    /// [`Error::UploadTooLong`], [`Error::UploadKind`] as soon as that is known, [`Error::UploadFile`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most as u64 {
            return Err(Error::UploadTooLong { most: self.most });
        }
        if self.kind.is_none() {
            let missing = HEAD.saturating_sub(self.head.len()).min(bytes.len());
            self.head.extend(bytes.iter().take(missing));
            self.kind = Kind::of(&self.head);
            if self.kind.is_none() && self.head.len() >= HEAD {
                return Err(Error::UploadKind);
            }
        }
        self.file.write_all(bytes).await.map_err(|error| self.broken(error))
    }

    fn broken(&self, error: io::Error) -> Error {
        Error::UploadFile(self.path.display().to_string(), error)
    }
}

impl Uploads {
    /// The files in a directory; what is not whole goes.
    pub(super) fn open(node: &str, directory: &Path, store: &Store) -> Result<Self, Error> {
        let broken = |error| Error::UploadFile(directory.display().to_string(), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(broken)?;
        for entry in std::fs::read_dir(directory).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.ends_with(PART) || kind_of(&name).is_some();
            if ours && store.read(Table::Uploads, Key::new().text(&name))?.is_none() {
                std::fs::remove_file(entry.path()).map_err(broken)?;
            }
        }
        let mut bytes = 0;
        let mut from = Vec::new();
        loop {
            let page = store.range(Table::Uploads, &Span::from(&from), Direction::Up, PAGE)?;
            bytes +=
                page.entries.iter().filter_map(|(_, value)| kept(value)).map(|kept| kept.bytes).sum::<u64>();
            match page.entries.last() {
                Some((last, _)) if page.more => from = [last.as_slice(), &[0]].concat(),
                _ => break,
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            ids: MessageIds::new(node),
            bytes: AtomicU64::new(bytes),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }
}

impl Chat {
    /// Begins to take a file.
    ///
    /// # Errors
    ///
    /// [`Error`] when there are too many at the same time, or the directory can not be written.
    pub async fn begin_upload(&self, unix_ms: u64) -> Result<Temporary, Error> {
        let uploads = &self.shared.uploads;
        let turn = Arc::clone(&uploads.at_once).try_acquire_owned().map_err(|_| Error::UploadsBusy)?;
        let path = uploads.directory.join(format!("{}{PART}", uploads.ids.next(unix_ms)));
        let file = File::create_new(&path).await;
        let file = file.map_err(|error| Error::UploadFile(path.display().to_string(), error))?;
        let most = self.shared.settings.load().upload_size;
        Ok(Temporary { path, file, head: Vec::new(), kind: None, bytes: 0, most, _turn: turn })
    }

    /// Takes a file that is whole; the oldest ones go while all together are too long.
    ///
    /// # Errors
    ///
    /// [`Error`]; then the file is gone.
    pub async fn finish_upload(
        &self,
        mut temporary: Temporary,
        user: &str,
        unix_ms: u64,
    ) -> Result<Upload, Error> {
        let kind = temporary.kind.ok_or(Error::UploadKind)?;
        temporary.file.flush().await.map_err(|error| temporary.broken(error))?;
        let uploads = &self.shared.uploads;
        let name = format!("{}.{}", uploads.ids.next(unix_ms), kind.ending());
        let path = uploads.directory.join(&name);
        tokio::fs::rename(&temporary.path, &path).await.map_err(|error| temporary.broken(error))?;
        let bytes = temporary.bytes;
        let mut batch = Batch::new();
        let row = Kept { bytes, unix_ms, user: user.to_owned() };
        let row = serde_json::to_vec(&row).expect("numbers and a text can be written");
        batch.put(Table::Uploads, Key::new().text(&name), row);
        let written = match self.shared.ledger.store().submit(batch) {
            Ok(ticket) => ticket.await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            remove_file(&path).await;
            return Err(error.into());
        }
        uploads.bytes.fetch_add(bytes, Relaxed);
        let most = self.shared.settings.load().upload_limit;
        if uploads.bytes.load(Relaxed) > most {
            self.remove_uploads(|_, total| total > most).await?;
        }
        Ok(Upload { name, kind, bytes })
    }

    /// An uploaded file; none when there is none of that name.
    pub async fn open_upload(&self, name: &str) -> Option<(File, Upload)> {
        let kind = kind_of(name)?;
        let file = File::open(self.shared.uploads.directory.join(name)).await.ok()?;
        let bytes = file.metadata().await.ok()?.len();
        Some((file, Upload { name: name.to_owned(), kind, bytes }))
    }

    /// Lets go of the files that are too old.
    pub(super) async fn expire_uploads(&self, unix_ms: u64) -> Result<(), Error> {
        let oldest = unix_ms.saturating_sub(millis(self.shared.settings.load().upload_ttl));
        self.remove_uploads(|uploaded, _| uploaded < oldest).await
    }

    /// Lets go of the oldest files as long as `goes` says so of a file's time and the bytes of all.
    async fn remove_uploads(&self, goes: impl Fn(u64, u64) -> bool) -> Result<(), Error> {
        let (uploads, store) = (&self.shared.uploads, self.shared.ledger.store());
        loop {
            let page = store.range(Table::Uploads, &Span::all(), Direction::Up, PAGE)?;
            let mut batch = Batch::new();
            let mut total = uploads.bytes.load(Relaxed);
            let mut going = Vec::new();
            for (key, value) in &page.entries {
                let kept = kept(value).unwrap_or(Kept { bytes: 0, unix_ms: 0, user: String::new() });
                if !goes(kept.unix_ms, total) {
                    break;
                }
                total = total.saturating_sub(kept.bytes);
                batch.delete(Table::Uploads, key);
                going.push((Parts::new(key).text().unwrap_or_default(), kept.bytes));
            }
            let all_of_them = page.more && going.len() == page.entries.len();
            if going.is_empty() {
                return Ok(());
            }
            store.submit(batch)?.await?;
            self.lost("uploads", going.len());
            for (name, bytes) in going {
                uploads.bytes.fetch_sub(bytes, Relaxed);
                if kind_of(&name).is_some() {
                    remove_file(&uploads.directory.join(name)).await;
                }
            }
            if !all_of_them {
                return Ok(());
            }
        }
    }
}

async fn remove_file(path: &Path) {
    if let Err(error) = tokio::fs::remove_file(path).await
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an upload can not be removed");
    }
}

/// What a file of this name is; none when it is no name of ours.
fn kind_of(name: &str) -> Option<Kind> {
    let (number, ending) = name.split_once('.')?;
    let is_number =
        !number.is_empty() && number.len() <= 20 && number.bytes().all(|byte| byte.is_ascii_digit());
    Kind::ALL.into_iter().find(|kind| is_number && kind.ending() == ending)
}

fn kept(value: &[u8]) -> Option<Kept> {
    serde_json::from_slice(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_its_first_bytes_say() {
        let bitmap = [b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".as_slice(), &[0; 8]].concat();
        for (head, kind) in [
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), Some(Kind::Png)),
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0", Some(Kind::Jpeg)),
            (b"GIF89a\x01\0\x01\0", Some(Kind::Gif)),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some(Kind::Webp)),
            (&bitmap, Some(Kind::Bmp)),
            (b"BM<script>alert(1)</script>", None),
            (b"<svg xmlns=\"http://www.w3.org/2000/svg\">", None),
            (b"<!doctype html><script>", None),
            (b"RIFF\x24\0\0\0WAVEfmt ", None),
            (b"", None),
        ] {
            assert_eq!(Kind::of(head), kind, "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        assert_eq!(kind_of("1577469091634360321.png"), Some(Kind::Png));
        for name in
            ["../lock", "1.part", "1.png/..", "1.svg", ".png", "1.html", "1.PNG", "", "1%2e.png", "a.png"]
        {
            assert_eq!(kind_of(name), None, "{name}");
        }
    }
}
