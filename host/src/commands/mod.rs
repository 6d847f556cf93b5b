//! What `main` can do, one file a command.

mod check;
mod dev;
mod grants;
mod host;
mod on_cluster;
mod push;
mod run;
mod running;
mod source;
mod step_down;
mod wit;

pub use check::check;
pub use dev::dev;
pub use push::push;
pub use run::run;
pub use step_down::step_down;
pub use wit::wit;
