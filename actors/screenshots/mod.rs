//! Screenshots: from an event that names an image to the stored file.

pub mod download_places;
pub mod image_client;
pub mod image_fetch;
pub mod image_writer;
pub mod message;
pub mod offset_window;
pub mod redirect_walker;
pub mod session_cache_actor;
pub mod session_use;
pub mod ticket_actor;
