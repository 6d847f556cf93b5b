//! Tasks in five languages: what `leasehold new` makes is built and run by the commands of its own README.
//! `tests/languages/tools` sees to the tools.

mod all;
mod c;
mod go;
mod js;
mod project;
mod python;
mod rust;
