//! The whole server, and its larger parts, against real and fake far sides.

mod screenshots;
