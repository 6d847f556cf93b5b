//! Where those values of a guest's environment are that its config does not have itself.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

/// Environment variables with values from elsewhere: a Secret, say. They are read for each run, and kept by nobody.
pub trait EnvSource: Debug + Send + Sync + 'static {
    /// The variables and their values as they are now, within a bounded time; or, without any value in it, why not.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    fn read(&self) -> BoxFuture<'static, Result<Vec<(String, String)>, String>>;
}
