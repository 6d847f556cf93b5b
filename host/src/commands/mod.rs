//! What `main` can do, one file a command.

mod check;
mod dev;
mod host;
mod run;
mod source;
mod wit;

pub use check::check;
pub use dev::dev;
pub use run::run;
pub use wit::wit;
