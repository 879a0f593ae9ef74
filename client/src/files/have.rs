//! What has arrived of one file: a small file beside it, in an order of writing that no crash can
//! turn into a lie.
//!
//! ```text
//! 0      header, 512 bytes: what it is of, for which home, since which start of the system, a
//!        checksum
//! 512    `synced`: one bit for each chunk that is on the disk for good
//! then   `written`: one bit for each chunk the system has taken
//! ```
//!
//! A bit of `written` is set after its chunk was written. That outlives `kill -9`, for the system
//! keeps what it took, so `written` is believed while the system was not started anew. A bit of
//! `synced` is set only after its chunk was synced, so it is believed always; torn writes leave
//! bits unset and cost chunks sent again, never a hole taken for data. After an error of a sync
//! nobody knows what the system still holds: `written` then no longer counts.

use super::disk::Disk;
use super::{FilesError, Offer};
use beeline_proto::id::sha256;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HEADER_LEN: usize = 512;
const MAGIC: &[u8; 16] = b"beeline part v1\n";
const SUM_AT: usize = HEADER_LEN - 32;
const OWNER_AT: usize = 80;
const BOOT_AT: usize = 96;
const NAME_AT: usize = 113;
/// Nobody's start of the system: nothing written since is believed.
const NO_BOOT: [u8; 16] = [0; 16];

/// One bit for each chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    len: u32,
    set: u32,
}

impl Bits {
    fn new(len: u32) -> Self {
        Self {
            bytes: vec![0; len.div_ceil(8) as usize],
            len,
            set: 0,
        }
    }

    pub(super) fn has(&self, index: u32) -> bool {
        let byte = self.bytes.get(index as usize / 8);
        byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    fn insert(&mut self, index: u32) {
        if index < self.len && !self.has(index) {
            self.bytes[index as usize / 8] |= 1 << (index % 8);
            self.set += 1;
        }
    }

    /// How many are set.
    pub(super) fn count(&self) -> u32 {
        self.set
    }

    pub(super) fn is_full(&self) -> bool {
        self.set == self.len
    }
}

/// The file beside a part, and what it says.
#[derive(Debug)]
pub(super) struct Have {
    file: Arc<File>,
    path: PathBuf,
    header: [u8; HEADER_LEN],
    bits: Bits,
}

impl Have {
    /// Reads `file`, or makes it anew where it says nothing. `owner` is the home it is for, `boot`
    /// names this start of the system.
    ///
    /// # Errors
    /// [`FilesError::Foreign`] where it belongs to another content; the disk's.
    pub(super) fn open(
        file: File,
        path: &Path,
        offer: &Offer,
        (owner, boot): ([u8; 16], [u8; 16]),
        disk: &dyn Disk,
    ) -> Result<Self, FilesError> {
        let mut fresh = header(offer);
        fresh[OWNER_AT..BOOT_AT].copy_from_slice(&owner);
        let mut have = Self {
            file: Arc::new(file),
            path: path.to_owned(),
            header: [0; HEADER_LEN],
            bits: Bits::new(offer.shape.chunks()),
        };
        let held = have.read(0, HEADER_LEN)?;
        if held[SUM_AT..] == sha256(&held[..SUM_AT]) {
            if held[..BOOT_AT] != fresh[..BOOT_AT] {
                return Err(FilesError::Foreign(path.to_owned()));
            }
            have.header.copy_from_slice(&held);
            have.load(boot)?;
        } else {
            have.header = fresh;
            let empty = have.file.set_len(0);
            empty.map_err(|error| FilesError::disk("write", path, error))?;
        }
        if boot == NO_BOOT || have.header[BOOT_AT..BOOT_AT + 16] != boot {
            // First what is believed, then since when.
            have.put_bits(&have.bits.bytes, have.written_at(), disk)?;
            have.header[BOOT_AT..BOOT_AT + 16].copy_from_slice(&boot);
            have.put_header(disk)?;
        }
        Ok(have)
    }

    fn load(&mut self, boot: [u8; 16]) -> Result<(), FilesError> {
        let len = self.bits.bytes.len();
        let mut believed = self.read(HEADER_LEN as u64, len)?;
        if boot != NO_BOOT && self.header[BOOT_AT..BOOT_AT + 16] == boot {
            let written = self.read(self.written_at(), len)?;
            for (byte, more) in believed.iter_mut().zip(written) {
                *byte |= more;
            }
        }
        for index in 0..self.bits.len {
            if believed[index as usize / 8] >> (index % 8) & 1 == 1 {
                self.bits.insert(index);
            }
        }
        Ok(())
    }

    /// What has arrived.
    pub(super) fn bits(&self) -> &Bits {
        &self.bits
    }

    /// Keeps only the chunks that `keep` says are there.
    pub(super) fn retain(
        &mut self,
        keep: impl Fn(u32) -> bool,
        disk: &dyn Disk,
    ) -> Result<(), FilesError> {
        let mut bits = Bits::new(self.bits.len);
        let held = (0..self.bits.len).filter(|index| self.bits.has(*index));
        held.filter(|index| keep(*index))
            .for_each(|index| bits.insert(index));
        if bits != self.bits {
            self.bits = bits;
            self.put_bits(&self.bits.bytes, HEADER_LEN as u64, disk)?;
            self.put_bits(&self.bits.bytes, self.written_at(), disk)?;
        }
        Ok(())
    }

    /// Notes a chunk that was written.
    pub(super) fn insert(&mut self, index: u32, disk: &dyn Disk) -> Result<(), FilesError> {
        self.bits.insert(index);
        let at = index as usize / 8;
        let byte = &self.bits.bytes[at..=at];
        self.put_bits(byte, self.written_at() + at as u64, disk)
    }

    /// Whose a part is, by the file beside it; `None` where that says nothing.
    pub(super) fn owner(file: &File) -> Option<[u8; 16]> {
        let mut held = [0; HEADER_LEN];
        file.read_exact_at(&mut held, 0).ok()?;
        let sound = held[SUM_AT..] == sha256(&held[..SUM_AT]);
        let owner = held[OWNER_AT..BOOT_AT].try_into().ok()?;
        sound.then_some(owner)
    }

    /// What makes the chunks of now last, once they are synced.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            file: Arc::clone(&self.file),
            path: self.path.clone(),
            bytes: self.bits.bytes.clone(),
        }
    }

    /// A sync failed: what was written since the last one is believed no more.
    pub(super) fn distrust(&mut self, disk: &dyn Disk) {
        self.header[BOOT_AT..BOOT_AT + 16].copy_from_slice(&NO_BOOT);
        // Where this fails too, the chunks are read as written: as good as the system says.
        let _ = self.put_header(disk);
    }

    /// The name under which the complete file is being put in place, if that was begun.
    pub(super) fn placing(&self) -> Option<String> {
        let len = usize::from(self.header[NAME_AT - 1]);
        let name = self.header.get(NAME_AT..NAME_AT + len)?;
        (len > 0).then(|| String::from_utf8_lossy(name).into_owned())
    }

    /// Notes that name, for good.
    pub(super) fn place(&mut self, name: &str, disk: &dyn Disk) -> Result<(), FilesError> {
        let bytes = name.as_bytes();
        let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        self.header[NAME_AT - 1] = len;
        self.header[NAME_AT..NAME_AT + usize::from(len)].copy_from_slice(&bytes[..len.into()]);
        self.put_header(disk)?;
        disk.sync(&self.file)
            .map_err(|error| FilesError::disk("sync", &self.path, error))
    }

    fn written_at(&self) -> u64 {
        (HEADER_LEN + self.bits.bytes.len()) as u64
    }

    /// So many bytes; zeros where the file is shorter.
    fn read(&self, mut at: u64, len: usize) -> Result<Vec<u8>, FilesError> {
        let mut bytes = vec![0; len];
        let mut rest = &mut bytes[..];
        while !rest.is_empty() {
            let got = self.file.read_at(rest, at);
            let got = got.map_err(|error| FilesError::disk("read", &self.path, error))?;
            if got == 0 {
                break;
            }
            at += got as u64;
            rest = &mut rest[got..];
        }
        Ok(bytes)
    }

    fn put_header(&mut self, disk: &dyn Disk) -> Result<(), FilesError> {
        let sum = sha256(&self.header[..SUM_AT]);
        self.header[SUM_AT..].copy_from_slice(&sum);
        self.put_bits(&self.header, 0, disk)
    }

    fn put_bits(&self, bytes: &[u8], at: u64, disk: &dyn Disk) -> Result<(), FilesError> {
        disk.write_at(&self.file, bytes, at)
            .map_err(|error| FilesError::disk("write", &self.path, error))
    }
}

/// The chunks that had been written at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    file: Arc<File>,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Snapshot {
    /// Call it once all of them were synced: they are believed from now on, whatever happens.
    pub(super) fn commit(&self, disk: &dyn Disk) -> Result<(), FilesError> {
        disk.write_at(&self.file, &self.bytes, HEADER_LEN as u64)
            .map_err(|error| FilesError::disk("write", &self.path, error))?;
        disk.sync(&self.file)
            .map_err(|error| FilesError::disk("sync", &self.path, error))
    }
}

/// The header of an offer nothing has arrived of: everything before [`OWNER_AT`] names the content.
fn header(offer: &Offer) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..16].copy_from_slice(MAGIC);
    header[16..32].copy_from_slice(&offer.id.0);
    header[32..64].copy_from_slice(&offer.root.0);
    header[64..72].copy_from_slice(&offer.shape.len().to_be_bytes());
    header[72..76].copy_from_slice(&offer.shape.chunk_len().to_be_bytes());
    header[76..80].copy_from_slice(&offer.list_len.to_be_bytes());
    header
}
