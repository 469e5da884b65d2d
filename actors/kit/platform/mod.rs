//! The seam to the operating system: everything that another system does in another way, with errors of `std::io`.
//! Nothing else of the product names `nix`, `libc`, `std::os` or `/proc`, save signals and the service manager.
//!
//! | file | |
//! |---|---|
//! | `files` | who may read them, links that are not followed, names that are not overwritten, bytes at a place |
//! | [`sockets`] | the UDP socket and its buffer, many datagrams at once, what the kernel dropped, how many connections wait |
//! | [`process`] | what this process uses and may use, the machine, who holds a port |
//! | [`clock`] | the clock that nobody sets |
//!
//! A figure that the system does not tell is `None`, never 0.

pub mod clock;
mod files;
pub mod process;
pub mod sockets;

pub use self::files::{
    Modes, create_afresh, create_directories, create_new, create_over, is_same_file, mode, open_existing,
    open_or_create, open_to_append, open_to_write, read_at, read_exact_at, remove, rename_new, rename_over,
    sync_directory, write_all_at,
};
