//! The platform layer: everything that differs between operating systems, with errors of `std::io`.
//! Only signals and the service manager name `nix`, `libc`, `std::os` or `/proc` outside this folder.
//!
//! | file | |
//! |---|---|
//! | `files` | access rights, no following of links, no overwriting, reads and writes at a position |
//! | [`sockets`] | the UDP socket and its buffer, batches of datagrams, kernel drops, the backlog of
//! connections |
//! | [`process`] | resource usage and limits of this process, the machine, the holder of a port |
//! | [`clock`] | the monotonic clock |
//!
//! A figure that the system does not report is `None`, never 0.

pub mod clock;
mod files;
pub mod process;
pub mod sockets;

pub use self::files::{
    Modes, create_afresh, create_directories, create_new, create_over, is_same_file, mode, open_existing,
    open_or_create, open_to_append, open_to_write, read_at, read_exact_at, remove, rename_new, rename_over,
    sync_directory, write_all_at,
};
