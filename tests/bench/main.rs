//! How long things take, as tables: nothing passes or fails here. `cargo bench -p leasehold-tests`.

mod checkpoint;
mod cold_start;
mod election;
mod guests;
mod memory;
mod pages;
mod scale;
mod standbys;
mod swaps;
mod work;

fn main() {
    // cargo passes `--bench`; anything else picks one part.
    let part = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "dev build" } else { "release build" };
    let host = std::env::var("LEASEHOLD_TEST_HOST").map_or(String::new(), |host| format!("; the host is {host}"));
    println!("{cores} cores, {build}{host}. Times in milliseconds.\n");
    if wanted("guests") {
        guests::start();
        guests::stop();
    }
    if wanted("work") {
        work::cpu();
        work::calls();
        work::http();
    }
    if wanted("memory") {
        memory::memory();
    }
    if wanted("checkpoint") {
        checkpoint::checkpoint();
    }
    if wanted("cold-start") {
        cold_start::cold_start();
    }
    for (name, measure) in election::PARTS {
        if wanted(name) {
            election::measure(measure);
        }
    }
    if wanted("scale") {
        scale::scale();
    }
    if wanted("pages") {
        pages::pages();
    }
    if wanted("standbys") {
        standbys::standbys();
    }
    if wanted("swaps") {
        swaps::swaps();
    }
}
