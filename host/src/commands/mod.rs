//! What `main` can do, one file a command.

mod check;
mod dev;
mod explain;
mod grants;
mod host;
mod new;
mod on_cluster;
mod push;
mod run;
mod running;
mod source;
mod status;
mod step_down;
mod wit;

pub use check::check;
pub use dev::dev;
pub use explain::explain;
pub use new::{Language, new};
pub use push::push;
pub use run::run;
pub use status::{Output, status};
pub use step_down::step_down;
pub use wit::wit;
