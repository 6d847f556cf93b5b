//! What is done to the cluster below its API. Each guard mends on drop what it has broken, so that a story
//! that fails leaves a cluster to the next one.

use anyhow::Result;

use super::{Cluster, number_of};

/// A node without a network; see [`Cluster::cut_off`].
#[must_use = "dropped, it is joined again"]
pub struct CutOff<'a> {
    cluster: &'a Cluster,
    number: String,
    joined: bool,
}

/// A part of the control plane that was stopped; see [`Cluster::stop`].
#[must_use = "dropped, it is started again"]
pub struct Stopped<'a> {
    cluster: &'a Cluster,
    name: &'static str,
    started: bool,
}

impl Cluster {
    /// Takes the link of the node of this name down: what runs there goes on, and reaches nobody.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn cut_off(&self, node: &str) -> Result<CutOff<'_>> {
        let number = number_of(node)?.to_owned();
        self.command("node", &["cut", &number])?;
        Ok(CutOff { cluster: self, number, joined: false })
    }

    /// Kills a part of the control plane.
    ///
    /// # Errors
    /// It does not run, or is none.
    pub fn stop(&self, part: &'static str) -> Result<Stopped<'_>> {
        self.command("part", &["stop", part])?;
        Ok(Stopped { cluster: self, name: part, started: false })
    }
}

impl CutOff<'_> {
    /// Gives it its network back.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn join(mut self) -> Result<()> {
        self.joined = true;
        self.cluster.command("node", &["join", &self.number])
    }
}

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        if !self.joined
            && let Err(error) = self.cluster.command("node", &["join", &self.number])
        {
            eprintln!("node{} is still cut off: {error:#}", self.number);
        }
    }
}

impl Stopped<'_> {
    /// Starts it again, with the data it had.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn start(mut self) -> Result<()> {
        self.started = true;
        self.cluster.command("part", &["start", self.name])
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if !self.started
            && let Err(error) = self.cluster.command("part", &["start", self.name])
        {
            eprintln!("{} is still stopped: {error:#}", self.name);
        }
    }
}
