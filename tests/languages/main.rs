//! Tasks in five languages: what `leasehold new` makes is built and run by the commands of its own README, and so are the
//! examples in guest-examples. `tests/languages/tools` sees to the tools.

mod all;
mod c;
mod cluster;
mod go;
mod js;
mod monitor;
mod project;
mod python;
mod rust;
mod service;
