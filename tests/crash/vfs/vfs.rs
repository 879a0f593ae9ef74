//! A SQLite VFS whose disks are Rust values: the only `unsafe` of the workspace. It translates C
//! calls into calls of the safe trait [`Disk`], and keeps what no disk has: locks and the shared
//! memory of the WAL. Every path below a directory given to [`mount`] goes to that disk.

use rusqlite::ffi;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The name to open a database with.
pub const NAME: &str = "beeline-fault";

/// Longest path, bytes.
const PATH_MAX: c_int = 512;

/// As the VFS of Unix says: the WAL depends on neither.
const SECTOR: c_int = 4096;

/// Locks of a WAL's shared memory, as `SQLITE_SHM_NLOCK`.
const SHM_LOCKS: usize = 8;

/// Why a disk did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No room: ENOSPC.
    Full,
    /// It failed: EIO.
    Io,
    /// There is no such file.
    Missing,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Make it where it is missing.
    pub create: bool,
    /// A journal or a WAL: whoever makes it syncs its directory with its first sync, as the VFS of
    /// Unix does.
    pub journal: bool,
}

/// Names an open file of a disk.
pub type FileId = u64;

/// What a disk can do. Calls come one at a time.
pub trait Disk: Send {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Fault::Missing`] where it is not and is not to be made, or any other.
    fn open(&mut self, path: &str, how: Opening) -> Result<FileId, Fault>;
    /// Closes it. Never fails.
    fn close(&mut self, file: FileId);
    /// Reads up to `into.len()` bytes; returns how many there were.
    ///
    /// # Errors
    /// Any fault.
    fn read(&mut self, file: FileId, into: &mut [u8], at: u64) -> Result<usize, Fault>;
    /// Writes all of `data`.
    ///
    /// # Errors
    /// Any fault.
    fn write(&mut self, file: FileId, data: &[u8], at: u64) -> Result<(), Fault>;
    /// Sets the length.
    ///
    /// # Errors
    /// Any fault.
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), Fault>;
    /// Makes durable what was written.
    ///
    /// # Errors
    /// Any fault.
    fn sync(&mut self, file: FileId) -> Result<(), Fault>;
    /// The length.
    ///
    /// # Errors
    /// Any fault.
    fn len(&mut self, file: FileId) -> Result<u64, Fault>;
    /// Removes a name, and syncs its directory if asked to.
    ///
    /// # Errors
    /// [`Fault::Missing`], or any other.
    fn delete(&mut self, path: &str, sync_dir: bool) -> Result<(), Fault>;
    /// Whether there is such a name.
    fn exists(&mut self, path: &str) -> bool;
}

/// A mounted disk, with what lies in memory beside it.
struct Mount {
    disk: Box<dyn Disk>,
    /// Of each database path: locks, and the shared memory of its WAL.
    locks: BTreeMap<String, FileLocks>,
    shared: BTreeMap<String, Shared>,
}

/// Who holds which lock of a database file.
#[derive(Default)]
struct FileLocks {
    shared: BTreeSet<u64>,
    reserved: Option<u64>,
    pending: Option<u64>,
    exclusive: Option<u64>,
}

/// The shared memory of one WAL.
#[derive(Default)]
struct Shared {
    /// Regions; each stays where it is until nobody uses them.
    regions: Vec<Box<[AtomicU64]>>,
    users: BTreeSet<u64>,
    readers: [BTreeSet<u64>; SHM_LOCKS],
    writer: [Option<u64>; SHM_LOCKS],
}

type Mounted = Arc<Mutex<Mount>>;

fn mounts() -> MutexGuard<'static, BTreeMap<String, Mounted>> {
    static MOUNTS: OnceLock<Mutex<BTreeMap<String, Mounted>>> = OnceLock::new();
    let mounts = MOUNTS.get_or_init(Mutex::default);
    mounts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a disk at a directory, such as `/disk-7`; registers the VFS if nobody has.
///
/// # Panics
/// If SQLite does not take the VFS.
pub fn mount(dir: &str, disk: Box<dyn Disk>) {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(register);
    let (locks, shared) = (BTreeMap::new(), BTreeMap::new());
    let mount = Mount {
        disk,
        locks,
        shared,
    };
    mounts().insert(dir.to_owned(), Arc::new(Mutex::new(mount)));
}

/// Takes a disk away. Files that are still open keep it.
pub fn unmount(dir: &str) {
    mounts().remove(dir);
}

fn mounted(path: &str) -> Option<Mounted> {
    let dir = &path[..path.rfind('/')?];
    mounts().get(dir).cloned()
}

fn held(mount: &Mounted) -> MutexGuard<'_, Mount> {
    mount.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an open file is: the C side sees only its first field.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

struct Open {
    mount: Mounted,
    path: String,
    file: FileId,
    /// Names this handle in locks.
    handle: u64,
    level: c_int,
}

fn register() {
    let vfs = ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<File>() as c_int,
        mxPathname: PATH_MAX,
        pNext: std::ptr::null_mut(),
        zName: c"beeline-fault".as_ptr(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(x_open),
        xDelete: Some(x_delete),
        xAccess: Some(x_access),
        xFullPathname: Some(x_full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(x_randomness),
        xSleep: Some(x_sleep),
        xCurrentTime: Some(x_current_time),
        xGetLastError: Some(x_get_last_error),
        xCurrentTimeInt64: Some(x_current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    };
    let vfs = Box::leak(Box::new(vfs));
    // SAFETY: the table lives as long as the process and is not touched again by us.
    let taken = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
    assert_eq!(taken, ffi::SQLITE_OK, "SQLite takes the VFS");
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: Some(x_shm_map),
    xShmLock: Some(x_shm_lock),
    xShmBarrier: Some(x_shm_barrier),
    xShmUnmap: Some(x_shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn code(result: Result<(), Fault>, otherwise: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(Fault::Full) => ffi::SQLITE_FULL,
        Err(Fault::Io) => otherwise,
        Err(Fault::Missing) => ffi::SQLITE_CANTOPEN,
    }
}

/// The text of a path; SQLite only gives back what it was given.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn text<'a>(path: *const c_char) -> Option<&'a str> {
    if path.is_null() {
        return None;
    }
    // SAFETY: it is a C string, as the caller says, and lives as long as the call.
    unsafe { CStr::from_ptr(path) }.to_str().ok()
}

/// # Safety
/// `file` was opened by `x_open` and not closed.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Open {
    // SAFETY: `x_open` stored a box there that only `x_close` takes, and SQLite uses a file from
    // one thread at a time.
    unsafe { &mut *(*file.cast::<File>()).open }
}

unsafe extern "C" fn x_open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    static HANDLES: AtomicU64 = AtomicU64::new(1);
    let file = file.cast::<File>();
    // SAFETY: SQLite gives room for a `File`; without methods it does not close what fails here.
    unsafe { (*file).base.pMethods = std::ptr::null() };
    // SAFETY: the path is null or a C string.
    let Some(path) = (unsafe { text(path) }) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let Some(mount) = mounted(path) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let journal = flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
    let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
    let found = held(&mount).disk.open(path, Opening { create, journal });
    let id = match found {
        Ok(id) => id,
        Err(fault) => return code(Err(fault), ffi::SQLITE_CANTOPEN),
    };
    let open = Open {
        path: path.to_owned(),
        file: id,
        handle: HANDLES.fetch_add(1, Ordering::Relaxed),
        level: ffi::SQLITE_LOCK_NONE,
        mount,
    };
    // SAFETY: as above; `out_flags` may be null.
    unsafe {
        (*file).open = Box::into_raw(Box::new(open));
        (*file).base.pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: it is open, and nobody uses it after this.
    let open = unsafe { Box::from_raw((*file.cast::<File>()).open) };
    let mut mount = held(&open.mount);
    unlock_to(&mut mount, &open, ffi::SQLITE_LOCK_NONE);
    mount.disk.close(open.file);
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open, and SQLite gives a buffer of that length.
    let (open, into) = unsafe {
        let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), len as usize);
        (opened(file), into)
    };
    into.fill(0);
    match held(&open.mount).disk.read(open.file, into, at as u64) {
        Ok(read) if read == into.len() => ffi::SQLITE_OK,
        Ok(_) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn x_write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open, and SQLite gives a buffer of that length.
    let (open, from) = unsafe {
        let from = std::slice::from_raw_parts(from.cast::<u8>(), len as usize);
        (opened(file), from)
    };
    let written = held(&open.mount).disk.write(open.file, from, at as u64);
    code(written, ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let done = held(&open.mount).disk.truncate(open.file, len as u64);
    code(done, ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn x_sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let done = held(&open.mount).disk.sync(open.file);
    code(done, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn x_file_size(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let len = held(&open.mount).disk.len(open.file);
    if let Ok(len) = len {
        // SAFETY: SQLite asks with a place for the answer.
        unsafe { *out = len as ffi::sqlite3_int64 };
    }
    code(len.map(drop), ffi::SQLITE_IOERR_FSTAT)
}

unsafe extern "C" fn x_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let mut mount = held(&open.mount);
    let locks = mount.locks.entry(open.path.clone()).or_default();
    let me = open.handle;
    let free = |holder: Option<u64>| holder.is_none_or(|holder| holder == me);
    if level <= open.level {
        return ffi::SQLITE_OK;
    }
    let taken = match level {
        ffi::SQLITE_LOCK_SHARED => {
            let may = free(locks.pending) && free(locks.exclusive);
            if may {
                locks.shared.insert(me);
            }
            may
        }
        ffi::SQLITE_LOCK_RESERVED => {
            let may = free(locks.reserved) && free(locks.pending) && free(locks.exclusive);
            if may {
                locks.reserved = Some(me);
            }
            may
        }
        _ => {
            if !free(locks.pending) || !free(locks.exclusive) {
                return ffi::SQLITE_BUSY;
            }
            locks.pending = Some(me);
            let alone = locks.shared.iter().all(|holder| *holder == me);
            if alone {
                locks.exclusive = Some(me);
            } else {
                open.level = ffi::SQLITE_LOCK_PENDING;
            }
            alone
        }
    };
    if !taken {
        return ffi::SQLITE_BUSY;
    }
    open.level = level;
    ffi::SQLITE_OK
}

fn unlock_to(mount: &mut Mount, open: &Open, level: c_int) {
    let me = open.handle;
    let Some(locks) = mount.locks.get_mut(&open.path) else {
        return;
    };
    for holder in [
        &mut locks.exclusive,
        &mut locks.pending,
        &mut locks.reserved,
    ] {
        if *holder == Some(me) {
            *holder = None;
        }
    }
    if level == ffi::SQLITE_LOCK_NONE {
        locks.shared.remove(&me);
    }
}

unsafe extern "C" fn x_unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    if level < open.level {
        unlock_to(&mut held(&open.mount), open, level);
        open.level = level;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let mount = held(&open.mount);
    let locks = mount.locks.get(&open.path);
    let reserved = locks.is_some_and(|locks| locks.reserved.or(locks.exclusive).is_some());
    // SAFETY: SQLite asks with a place for the answer.
    unsafe { *out = c_int::from(reserved) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_file_control(
    _: *mut ffi::sqlite3_file,
    op: c_int,
    arg: *mut c_void,
) -> c_int {
    if op != ffi::SQLITE_FCNTL_MMAP_SIZE {
        return ffi::SQLITE_NOTFOUND;
    }
    // SAFETY: for this question it is a place for a number. Nothing is ever mapped.
    unsafe { *arg.cast::<ffi::sqlite3_int64>() = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR
}

unsafe extern "C" fn x_device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    // As the VFS of Unix: a write that is cut short spoils no byte beside it.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn x_shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let mut mount = held(&open.mount);
    let shared = mount.shared.entry(open.path.clone()).or_default();
    shared.users.insert(open.handle);
    let region = region as usize;
    while extend != 0 && shared.regions.len() <= region {
        let words = size as usize / size_of::<u64>();
        let empty = (0..words).map(|_| AtomicU64::new(0));
        shared.regions.push(empty.collect());
    }
    let found = shared.regions.get(region);
    let at = found.map_or(std::ptr::null(), |words| words.as_ptr());
    // SAFETY: SQLite asks with a place for the answer. The region lives until the last user has
    // unmapped it; its words may change under a shared reference, and only SQLite touches them.
    unsafe { *out = at.cast_mut().cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let mut mount = held(&open.mount);
    let shared = mount.shared.entry(open.path.clone()).or_default();
    let (me, slots) = (open.handle, first as usize..(first + count) as usize);
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        for slot in slots {
            shared.readers[slot].remove(&me);
            shared.writer[slot].take_if(|holder| *holder == me);
        }
        return ffi::SQLITE_OK;
    }
    let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    let blocked = |slot: usize| {
        let written = shared.writer[slot].is_some_and(|holder| holder != me);
        let read = shared.readers[slot].iter().any(|holder| *holder != me);
        written || exclusive && read
    };
    if slots.clone().any(blocked) {
        return ffi::SQLITE_BUSY;
    }
    for slot in slots {
        if exclusive {
            shared.writer[slot] = Some(me);
        } else {
            shared.readers[slot].insert(me);
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn x_shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let mut mount = held(&open.mount);
    let me = open.handle;
    if let Some(shared) = mount.shared.get_mut(&open.path) {
        shared.users.remove(&me);
        for slot in 0..SHM_LOCKS {
            shared.readers[slot].remove(&me);
            shared.writer[slot].take_if(|holder| *holder == me);
        }
        if shared.users.is_empty() {
            mount.shared.remove(&open.path);
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_delete(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    sync_dir: c_int,
) -> c_int {
    // SAFETY: the path is a C string.
    let path = unsafe { text(path) };
    let mount = path.and_then(mounted);
    let (Some(path), Some(mount)) = (path, mount) else {
        return ffi::SQLITE_IOERR_DELETE;
    };
    match held(&mount).disk.delete(path, sync_dir != 0) {
        Ok(()) => ffi::SQLITE_OK,
        Err(Fault::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(_) => ffi::SQLITE_IOERR_DELETE,
    }
}

unsafe extern "C" fn x_access(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    _: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the path is a C string.
    let path = unsafe { text(path) };
    let exists = |path: &str| mounted(path).is_some_and(|m| held(&m).disk.exists(path));
    // SAFETY: SQLite asks with a place for the answer.
    unsafe { *out = c_int::from(path.is_some_and(exists)) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_full_pathname(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the path is a C string.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes_with_nul();
    if bytes.len() > room as usize {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: SQLite gives `room` bytes, and the two do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_randomness(_: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite gives `len` bytes. Nothing is chance here: a run follows from its seed.
    unsafe { std::ptr::write_bytes(out, 0x5a, len as usize) };
    len
}

unsafe extern "C" fn x_sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // Time does not pass here.
    microseconds
}

/// A moment of 2026, as a Julian day in milliseconds.
const JULIAN_MS: ffi::sqlite3_int64 = 212_645_000_000_000;

unsafe extern "C" fn x_current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite asks with a place for the answer.
    unsafe { *out = JULIAN_MS as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_current_time_int64(
    _: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite asks with a place for the answer.
    unsafe { *out = JULIAN_MS };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_get_last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
